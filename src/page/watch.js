// Watch: applications, their deployments, and the log of one while it is written.

import { ask, call, follow } from "./api.js";
import { element, fromTemplate, plain, say } from "./element.js";
import { Log } from "./log.js";
import { durationText, instantText, sizeText } from "./text.js";

/** The server sends a ping each 20 s: a line that is silent for so long is down. */
const SILENCE_MS = 50_000;
const LONGEST_PAUSE_SECONDS = 15;
const UNFINISHED = ["queued", "building", "pushing", "starting"];
/** Why a stream is closed that would be refused again. */
const REFUSED = 1008;

let board;

export function openWatch(section) {
  board ??= new Board(section);
  board.showApps();
}

class Board {
  constructor(section) {
    const made = fromTemplate("board");
    section.querySelector(".slot").append(made);
    this.problem = section.querySelector(":scope > .problem");
    this.find = (selector) => made.querySelector(selector);
    this.log = new Log(this.find(".log"));
    this.find(".download").onclick = () => this.tell(() => this.download());
    this.find(".cancel").onclick = () => this.tell(() => this.cancel());
  }

  /** Does something, and says what goes wrong. */
  async tell(doing, place = this.find(".log > .problem")) {
    say(place);
    try {
      await doing();
    } catch (error) {
      say(place, error.message);
    }
  }

  showApps() {
    return this.tell(async () => {
      const { apps } = await call("GET", "v1/apps");
      const when = (app) => (app.last_deployed_at ? instantText(app.last_deployed_at) : "never deployed");
      this.list(".apps", apps.map((app) => row([app.name, when(app)], app.name, () => this.showApp(app))));
      const named = decodeURIComponent(location.hash.split("/")[1] ?? "");
      const app = apps.find(({ name }) => name === (this.app?.name ?? named)) ?? apps[0];
      if (app && app.id !== this.app?.id) await this.showApp(app);
      this.mark(".apps", this.app?.name);
    }, this.problem);
  }

  async showApp(app) {
    this.app = app;
    [this.deployments, this.logs, this.shown] = [new Map(), new Map(), undefined];
    this.mark(".apps", app.name);
    history.replaceState(null, "", `#watch/${encodeURIComponent(app.name)}`);
    this.find(".deployments h2").textContent = `Deployments of ${app.name}`;
    this.find(".deployments").hidden = false;
    this.find(".log").hidden = true;
    await this.tell(async () => {
      const { deployments } = await call("GET", `v1/apps/${app.id}/deployments?per_page=20`);
      if (app !== this.app) return;
      for (const deployment of deployments.reverse()) this.deployments.set(deployment.id, deployment);
      this.showDeployments();
      this.listen(app, 0);
      if (deployments.length > 0) this.show(deployments.at(-1).id);
    }, this.problem);
  }

  showDeployments() {
    const newestFirst = [...this.deployments.values()].reverse();
    const rows = newestFirst.map((deployment) => {
      const name = deployment.git_ref ? plain(deployment.git_ref) : `${deployment.id.slice(0, 8)}…`;
      const when = instantText(deployment.created_at);
      return row([name, statusOf(deployment), when], deployment.id, () => this.show(deployment.id));
    });
    this.list(".deployments", rows);
    this.mark(".deployments", this.shown);
  }

  list(card, rows) {
    this.find(`${card} ul`).replaceChildren(...rows);
    this.find(`${card} .none`).hidden = rows.length > 0;
  }

  mark(card, key) {
    for (const button of this.find(card).querySelectorAll("li button")) button.ariaCurrent = button.value === key ? "true" : null;
  }

  /** Follows the application for as long as it is the one that is shown. */
  listen(app, failures) {
    this.socket?.close();
    let timer;
    const socket = follow(app.id, (frame) => {
      failures = 0;
      clearTimeout(timer);
      timer = setTimeout(() => socket.close(), SILENCE_MS);
      if (app !== this.app) return;
      say(this.find(".live"), "Live");
      this.hear(app, frame);
    }, (code, reason) => {
      clearTimeout(timer);
      if (app !== this.app || socket !== this.socket) return;
      if (code === REFUSED) return say(this.find(".live"), `Not live: ${reason}`);
      const seconds = Math.min(2 ** failures, LONGEST_PAUSE_SECONDS);
      say(this.find(".live"), `The line is down${reason ? ` (${reason})` : ""}; next try in ${seconds} s.`);
      setTimeout(() => app === this.app && this.listen(app, failures + 1), seconds * 1000);
    });
    this.socket = socket;
  }

  /** The stream begins with all that there is of what is unfinished. */
  async hear(app, { type, id, data }) {
    if (type === "new") {
      this.logs.set(id, "");
      if (id === this.shown) this.log.clear();
    }
    if (type === "log") {
      this.logs.set(id, (this.logs.get(id) ?? "") + data.content);
      if (id === this.shown) this.log.append(data.content);
    }
    if (type === "new" || type === "status") await this.tell(() => this.refresh(app, id));
    if (type === "status" && id === this.shown && !isUnfinished(data)) this.log.end();
  }

  /** Asks anew for one deployment, which the rate limit does not count. */
  async refresh(app, id) {
    const isNew = !this.deployments.has(id);
    const { deployment } = await call("GET", `v1/apps/${app.id}/deployments/${id}`);
    if (app !== this.app) return;
    this.deployments.set(id, deployment);
    this.showDeployments();
    if (isNew && (!this.shown || !isUnfinished(this.deployments.get(this.shown)))) this.show(id);
    else if (id === this.shown) this.showFacts(deployment);
  }

  show(id) {
    this.shown = id;
    this.mark(".deployments", id);
    this.find(".log").hidden = false;
    const deployment = this.deployments.get(id);
    this.showFacts(deployment);
    this.log.clear();
    return this.tell(async () => {
      const heard = this.logs.get(id);
      const text = heard ?? (await (await ask("GET", this.outputOf(id))).text());
      // The stream may have begun with it meanwhile.
      if (id !== this.shown || (heard === undefined && this.logs.has(id))) return;
      this.log.append(text);
      if (!isUnfinished(deployment)) this.log.end();
    });
  }

  showFacts(deployment) {
    this.find(".log h2").textContent = deployment.git_ref ? plain(deployment.git_ref) : deployment.id;
    this.find(".log .status").replaceWith(statusOf(deployment));
    const { size, host } = deployment.source;
    const facts = [size === null ? `from ${host}` : sizeText(size), `by ${deployment.pusher.username}`];
    if (!isUnfinished(deployment)) facts.push(`took ${durationText(deployment.duration)}`);
    say(this.find(".facts"), facts.join(", "));
    say(this.find(".reason"), deployment.reason && plain(deployment.reason));
    this.find(".cancel").hidden = !isUnfinished(deployment);
  }

  outputOf(id) {
    return `v1/apps/${this.app.id}/deployments/${id}/output`;
  }

  async download() {
    const id = this.shown;
    const address = URL.createObjectURL(await (await ask("GET", this.outputOf(id))).blob());
    element("a", { href: address, download: `${this.app.name}-${id}.log` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  }

  async cancel() {
    const [app, id] = [this.app, this.shown];
    if (!(await confirmed(`Cancel this deployment of ${app.name}? It ends as soon as its runner has stopped it.`))) return;
    await call("POST", `v1/apps/${app.id}/deployments/${id}/cancel`);
    await this.refresh(app, id);
  }
}

function isUnfinished({ status }) {
  return UNFINISHED.includes(status);
}

function statusOf(deployment) {
  const { status } = deployment;
  const kind = isUnfinished(deployment) ? "busy" : status === "success" ? "success" : status === "aborted" ? "" : "failed";
  return element("span", { className: `status ${kind}`, textContent: status });
}

function row(cells, value, onclick) {
  const parts = cells.map((cell, at) => (cell instanceof Node ? cell : element("span", { className: at > 0 ? "hint" : "", textContent: cell })));
  return element("li", {}, element("button", { value, onclick }, ...parts));
}

/** Asks before what cannot be taken back. */
function confirmed(question) {
  const dialog = document.getElementById("confirm");
  dialog.querySelector("p").textContent = question;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}
