// Deploys with the platform's JavaScript library and follows that to its end, then prints what it was told.
// Usage: node deploy.cjs NODE_MODULES BASE_URL API_TOKEN SOURCE_URL
"use strict";

const [modules, url, apiToken, sourceUrl] = process.argv.slice(2);
const { Client } = require(require.resolve("scalingo", { paths: [modules] }));

const UNFINISHED = ["queued", "building", "pushing", "starting"];

async function main() {
  const options = { apiUrl: url, authApiUrl: url };
  const bearer = await new Client("", options).Tokens.exchange(apiToken);
  const client = new Client(bearer, options);
  const app = await client.Apps.find("my-shop");
  const listener = await client.Apps.deploymentListener(app.id);
  await new Promise((resolve) => listener.onOpen(resolve));

  const told = { news: [], log: "", statuses: [] };
  listener.onNew((event) => told.news.push(event.deployment.id));
  listener.onLog((event) => (told.log += event.content));
  const ended = new Promise((resolve, reject) => {
    listener.onStatus(({ status }) => {
      told.statuses.push(status);
      if (!UNFINISHED.includes(status)) resolve();
    });
    listener.onClose(() => reject(new Error("it closed before the end")));
  });
  told.created = await client.Deployments.create(app.id, { source_url: sourceUrl, git_ref: "v1" });
  await ended;
  listener.close();

  told.found = await client.Deployments.find(app.id, told.created.id);
  told.listed = await client.Deployments.for(app.id, { page: 1, per_page: 10 });
  told.output = await client.Deployments.logs(app.id, told.created.id);
  await client.Deployments.purgeCache(app.id);
  // Both are noted right after the end.
  do {
    told.app = await client.Apps.find(app.id);
    told.events = await client.Events.for(app.id);
  } while (told.app.status === "new" || told.events.events[0].type !== "deployment");
  console.log(JSON.stringify(told));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
