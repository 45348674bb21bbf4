// Runs one scenario of a file beside this one in a browser, and prints what it returns as JSON.
// Usage: node run.mjs TOOLS FILE SCENARIO '{"url":…}'
//
// However it goes, it fails if the page breaks its own policy, throws an error that it does not handle, asks any other
// server, puts the API token into an address, or stores anything.
//
// It says a line for each step (DEBUG=pw:api) and each request, so that one who waits for it sees that it goes on.

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [tools, file, scenario, given] = process.argv.slice(2);
export const require = createRequire(pathToFileURL(`${tools}/npm/`));
const { chromium } = require("playwright-core");
const args = JSON.parse(given);

/** A browser, and all that its pages did wrong. */
class Visitor {
  constructor(browser) {
    this.browser = browser;
    this.faults = [];
    Object.assign(this, args);
  }

  /** A page of its own, as one more visitor has it. */
  async open(address = this.url, options = {}) {
    const context = await this.browser.newContext({
      viewport: { width: 1200, height: 900 },
      ignoreHTTPSErrors: true, // Certificates of tests are made by them.
      ...options,
    });
    context.setDefaultTimeout(0); // The test ends what says nothing any more.
    const page = await context.newPage();
    await page.exposeFunction("reportFault", (fault) => this.faults.push(fault));
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
        window.reportFault(`the policy: ${violatedDirective} ${blockedURI}`));
    });
    page.on("pageerror", (error) => this.faults.push(`not handled: ${error.stack}`));
    page.on("console", (message) => {
      // A refusal, and a line that is down, are shown where they happened; the browser notes them as well.
      const isAnswer = message.text().startsWith("Failed to load resource");
      if (!isAnswer) this.faults.push(`the console: ${message.text()}`);
    });
    page.on("requestfinished", (request) => console.error(`done: ${request.method()} ${request.url()}`));
    page.on("request", (request) => {
      const asked = request.url();
      const isHere = [this.url, this.other].some((url) => url && asked.startsWith(url));
      if (!isHere && !asked.startsWith("blob:")) this.faults.push(`asked another server: ${asked}`);
      if (this.token && asked.includes(this.token)) this.faults.push(`the API token is in an address: ${asked}`);
    });
    await page.goto(address);
    return page;
  }

  async signIn(page, token = this.token) {
    await page.fill("#token", token);
    await page.press("#token", "Enter");
  }

  /** A page whose user is signed in. */
  async openSignedIn(options) {
    const page = await this.open(this.url, options);
    await this.signIn(page);
    await page.waitForSelector("#who:not([hidden])");
    return page;
  }

  async checkStorage() {
    for (const page of this.browser.contexts().flatMap((context) => context.pages())) {
      if (!page.url().startsWith("http")) continue;
      const stored = await page.evaluate(async () => [
        document.cookie, { ...localStorage }, { ...sessionStorage }, await indexedDB.databases(),
      ]);
      if (JSON.stringify(stored) !== '["",{},{},[]]') this.faults.push(`stored: ${JSON.stringify(stored)}`);
    }
  }
}

async function main() {
  const browser = await chromium.launch({ executablePath: `${tools}/bin/chromium`, args: ["--no-sandbox"] });
  const visitor = new Visitor(browser);
  try {
    const { [scenario]: play } = await import(`./${file}`);
    const told = await play(visitor);
    await visitor.checkStorage();
    if (visitor.faults.length > 0) throw new Error(visitor.faults.join("\n"));
    console.log(JSON.stringify(told ?? null));
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
