// Giving and asking: what a user does who has an API token, and somebody whom they ask.

import net from "node:net";
import fs from "node:fs";

/** A wrong token first, then the right one; an archive that is chosen; and the link that comes of it. */
export async function file(it) {
  const page = await it.open();
  await it.signIn(page, `tk-us-${"A".repeat(48)}`);
  await page.waitForSelector("#sign-in .problem:not([hidden])");
  const refused = await page.textContent("#sign-in .problem");
  await it.signIn(page);
  await page.setInputFiles(".file-input", it.archive);
  return { refused, ...(await given(page)) };
}

/** What is shown of something that has been given. */
async function given(page) {
  await page.waitForSelector(".handout");
  const copies = await page.$$eval(".copy", (places) =>
    places.map((place) => [place.querySelector(".label").textContent, place.querySelector("code").textContent]));
  const countdown = await page.textContent(".handout .countdown");
  const code = await page.getAttribute(".qr svg", "aria-label");
  return { ...Object.fromEntries(copies), countdown, code };
}

/** A folder that is dropped, as the system's file manager does. */
export async function folder(it) {
  const page = await it.openSignedIn();
  if (it.withoutParts) {
    const isQuestion = (route) => route.request().method() === "OPTIONS";
    await page.route("**/v1/sources/*", (route) => (isQuestion(route) ? route.fulfill({ status: 204 }) : route.continue()));
  }
  await drop(page, ".dropzone", [it.folder]);
  return given(page);
}

async function drop(page, selector, files) {
  const place = await page.waitForSelector(selector);
  const { x, y, width, height } = await place.boundingBox();
  const session = await page.context().newCDPSession(page);
  const at = { x: x + width / 2, y: y + height / 2, data: { items: [], files, dragOperationsMask: 1 } };
  for (const type of ["dragEnter", "dragOver", "drop"]) await session.send("Input.dispatchDragEvent", { type, ...at });
}

/** A large file as it is, then the same in a folder that is packed: the memory that the tab took at most. */
export async function large(it) {
  const page = await it.openSignedIn();
  const memory = await watchMemory(it.browser);
  await page.setInputFiles(".file-input", it.archive);
  const file = await given(page);
  await page.click("text=Give something else");
  await drop(page, ".dropzone", [it.folder]);
  const packed = await given(page);
  return { file, packed, peakKib: memory.peakKib() };
}

/** The most memory that the tab had of its own, looked at often: what of the program itself is mapped is not its own. */
async function watchMemory(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const tabs = processInfo.filter(({ type }) => type === "renderer").map(({ id }) => id);
  let peak = 0;
  const look = () => {
    for (const id of tabs) {
      const status = fs.readFileSync(`/proc/${id}/status`, "utf8");
      const own = [...status.matchAll(/Rss(?:Anon|Shmem):\s*(\d+)/g)].map(([, kib]) => Number(kib));
      peak = Math.max(peak, own[0] + own[1]);
    }
  };
  const timer = setInterval(look, 20);
  return {
    peakKib() {
      clearInterval(timer);
      return peak;
    },
  };
}

/** The line is cut in the middle, stays down for a while, and comes back. */
export async function cut_line(it) {
  const line = await Line.to(it.url);
  it.other = line.url;
  const page = await it.open(line.url);
  await it.signIn(page);
  await page.waitForSelector("#who:not([hidden])");
  const before = line.passed;
  line.cutAfter(it.cutAfterBytes);
  await page.setInputFiles(".file-input", it.archive);
  await page.waitForFunction(() => document.querySelector(".state")?.textContent.includes("line is down"));
  const said = await page.textContent(".sending .state");
  line.mend();
  const told = await given(page);
  line.close();
  return { said, passed: line.passed - before, ...told };
}

/** The server takes longer to publish what it has than a line may be silent. */
export async function slow_answer(it) {
  const page = await it.open();
  await page.clock.install();
  await it.signIn(page);
  await page.waitForSelector("#who:not([hidden])");
  let [asked, answer] = [];
  const isAsked = new Promise((resolve) => (asked = resolve));
  const mayAnswer = new Promise((resolve) => (answer = resolve));
  await page.route("**/v1/sources/**", async (route) => {
    if (route.request().headers()["upload-complete"] === "?1") {
      asked();
      await mayAnswer;
    }
    await route.continue().catch(() => {}); // It may have been given up.
  });
  await page.setInputFiles(".file-input", it.archive);
  await isAsked;
  await page.clock.runFor(60_000);
  const said = await page.textContent(".sending .state");
  answer();
  return { said, ...(await given(page)) };
}

/** A way to the server that can be cut. */
class Line {
  static async to(url) {
    const line = new Line();
    line.target = new URL(url).port;
    line.passed = 0;
    line.limit = Infinity;
    line.sockets = new Set();
    line.server = net.createServer((client) => line.carry(client));
    await new Promise((resolve) => line.server.listen(0, "127.0.0.1", resolve));
    line.url = `http://127.0.0.1:${line.server.address().port}/`;
    return line;
  }

  carry(client) {
    if (this.passed >= this.limit) return client.destroy();
    const server = net.connect(this.target, "127.0.0.1");
    for (const socket of [client, server]) {
      this.sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.sockets.delete(socket));
    }
    client.on("data", (bytes) => {
      this.passed += bytes.length;
      if (this.passed >= this.limit) for (const socket of this.sockets) socket.destroy();
    });
    client.on("close", () => server.destroy());
    server.on("close", () => client.destroy());
    return client.pipe(server).pipe(client);
  }

  cutAfter(bytes) {
    this.limit = this.passed + bytes;
  }

  mend() {
    this.limit = Infinity;
  }

  close() {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

/** Somebody begins to give, and thinks better of it once the line is back. */
export function cancelled(it) {
  return cancelAfterCut(it, (line) => line.mend());
}

/** The same, while the line is still down. */
export function cancelled_while_down(it) {
  return cancelAfterCut(it, () => {});
}

async function cancelAfterCut(it, beforeCancel) {
  const line = await Line.to(it.url);
  it.other = line.url;
  const page = await it.open(line.url);
  await it.signIn(page);
  await page.waitForSelector("#who:not([hidden])");
  line.cutAfter(it.cutAfterBytes); // So that it is still under way.
  await page.setInputFiles(".file-input", it.archive);
  await page.waitForFunction(() => document.querySelector(".state")?.textContent.includes("line is down"));
  beforeCancel(line);
  await page.click(".sending .cancel");
  await page.waitForSelector(".sender > .problem:not([hidden])");
  const said = await page.textContent(".sender > .problem");
  const isBack = await page.isVisible(".dropzone");
  line.close();
  return { said, isBack };
}

/** A user asks, a stranger drops a file, the user sees it come, and somebody takes it. */
export async function ask(it) {
  const user = await it.openSignedIn();
  await user.click("#views >> text=Ask");
  await user.click("#make-address");
  await user.waitForSelector(".handout");
  const address = await user.textContent(".copy code");
  const stranger = await it.open(address);
  await stranger.setInputFiles(".file-input", it.archive);
  await stranger.waitForSelector("text=It has arrived");
  const arrived = await stranger.textContent("#drop .slot");
  await user.waitForSelector(".archive");
  const seen = await user.textContent(".archive");
  const download = await user.getAttribute(".archive .download", "href");
  return { address, arrived, addressAfter: stranger.url(), seen, download, taken: await take(it, download) };
}

/** What the page shows of a download link. */
async function take(it, link) {
  const page = await it.open(`${it.url}get#${link}`);
  await page.waitForSelector(".contents li");
  await page.waitForFunction(() => !document.querySelector(".contents .state").textContent.includes("Looking"));
  const inside = await page.$$eval(".contents li", (rows) => rows.map((row) => row.firstChild.textContent));
  const facts = await page.textContent(".archive dl");
  const [download] = await Promise.all([page.waitForEvent("download"), page.click(".archive .download")]);
  const file = await download.path();
  return { name: await page.textContent(".archive h2"), inside, facts, bytes: fs.statSync(file).size, addressAfter: page.url() };
}

/** A link to what has not come yet, and then another one in the same tab. */
export async function not_yet(it) {
  const page = await it.open(`${it.url}get#${it.download}`);
  await page.waitForSelector("#take > .problem:not([hidden])");
  const told = { said: await page.textContent("#take > .problem"), address: page.url() };
  await page.goto(`${it.url}get#${it.there}`);
  await page.waitForSelector(".archive");
  return told;
}

/** Links that have expired, and ones that are none, are refused in the words of the server, or of the page. */
export async function refused(it) {
  const said = {};
  for (const [name, address] of Object.entries({
    taken: `${it.url}get#${it.download}`,
    nonsense: `${it.url}get#nonsense`,
    elsewhere: `${it.url}get#${it.download.replace(it.url, "http://x.example/")}`,
    none: `${it.url}drop`,
  })) {
    const page = await it.open(address);
    await page.waitForSelector("section:not([hidden]) > .problem:not([hidden])");
    said[name] = await page.textContent("section:not([hidden]) > .problem");
    if (name === "taken") said.addressAfter = page.url();
  }
  const page = await it.open(`${it.url}drop#${it.upload}`);
  await page.setInputFiles(".file-input", it.archive);
  await page.waitForSelector(".sender > .problem:not([hidden])");
  said.dropped = await page.textContent(".sender > .problem");
  return said;
}
