// Drives the platform's JavaScript library against a running server, and prints what it was told.
// Usage: node client.cjs NODE_MODULES BASE_URL API_TOKEN
"use strict";

const [modules, url, apiToken] = process.argv.slice(2);
const { Client } = require(require.resolve("scalingo", { paths: [modules] }));

async function main() {
  const options = { apiUrl: url, authApiUrl: url };
  const bearer = await new Client("", options).Tokens.exchange(apiToken);
  const client = new Client(bearer, options);
  const told = {
    bearer,
    user: await client.Users.self(),
    regions: await client.Regions.all(),
    created: await client.Tokens.create("from the library"),
    tokens: await client.Tokens.all(),
  };
  told.renewed = await client.Tokens.renew(told.created.id);
  await client.Tokens.destroy(told.created.id);
  told.left = await client.Tokens.all();
  told.app = await useApps(client);
  told.refused = await new Client("nonsense", options).Users.self().catch((error) => ({
    status: error.status ?? error._status,
    data: error.data ?? error._data,
  }));
  console.log(JSON.stringify(told));
}

// Applications, their variables, and what is told of both.
async function useApps(client) {
  const rehearsed = await client.Apps.create({ name: "my-shop", dry_run: true });
  const created = await client.Apps.create({ name: "my-shop" });
  const told = { rehearsed, created, found: await client.Apps.find("my-shop") };
  const taken = await client.Apps.create({ name: "my-shop" }).catch((error) => error);
  told.taken = taken.data ?? taken._data;
  told.renamed = await client.Apps.rename(created.id, "my-shop", "my-store");
  told.all = await client.Apps.all();

  const app = created.id;
  const variable = await client.Environment.create(app, { name: "KEY", value: "one" });
  told.updated = await client.Environment.update(app, variable.id, "two");
  told.bulk = await client.Environment.bulkUpdate(app, [
    { name: "NEW", value: "three" },
    { name: "OTHER", value: "four" },
  ]);
  told.variables = await client.Environment.for(app);
  await client.Environment.destroy(app, variable.id);
  await client.Environment.bulkDestroy(app, told.bulk.map(({ id }) => id));
  told.left = await client.Environment.for(app);

  told.events = await client.Events.for(app, { page: 1, per_page: 3 });
  await client.Apps.destroy(app, "my-store");
  told.of_user = await client.Events.all();
  const gone = await client.Apps.find(app).catch((error) => error);
  told.gone = { status: gone.status ?? gone._status, data: gone.data ?? gone._data };
  const logs = await client.Apps.logsURL(app).catch((error) => error);
  told.logs = logs.data ?? logs._data;
  return told;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
