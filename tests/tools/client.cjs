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
  told.refused = await new Client("nonsense", options).Users.self().catch((error) => ({
    status: error.status ?? error._status,
    data: error.data ?? error._data,
  }));
  console.log(JSON.stringify(told));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
