// Each view in light and dark, wide and narrow: nothing that axe-core finds, and nothing wider than its window, in a
// language of longer words too. And the way of somebody who has a keyboard alone.

import fs from "node:fs";
import { require } from "./run.mjs";

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** Each view, by what is done to see it. */
const VIEWS = {
  "sign in": (it, options) => it.open(it.url, options),
  refused: async (it, options) => {
    const page = await it.open(it.url, options);
    await it.signIn(page, "nonsense");
    await page.waitForSelector("#sign-in .problem:not([hidden])");
    return page;
  },
  give: (it, options) => it.openSignedIn(options),
  given: async (it, options) => {
    const page = await it.openSignedIn(options);
    await page.setInputFiles(".file-input", it.archive);
    await page.waitForSelector(".handout");
    return page;
  },
  ask: async (it, options) => {
    const page = await it.openSignedIn(options);
    await page.click("#views >> text=Ask");
    await page.click("#make-address");
    await page.waitForSelector(".handout");
    return page;
  },
  drop: (it, options) => it.open(`${it.url}drop#${it.upload}`, options),
  take: async (it, options) => {
    const page = await it.open(`${it.url}get#${it.download}`, options);
    await page.waitForSelector(".contents li");
    return page;
  },
  watch: async (it, options) => {
    const page = await it.openSignedIn(options);
    await page.click("#views >> text=Watch");
    await page.waitForSelector(".line");
    return page;
  },
  confirm: async (it, options) => {
    const page = await VIEWS.watch(it, options);
    await page.click(".log .cancel");
    await page.waitForSelector("dialog[open]");
    return page;
  },
};

/** The views that are asked for. */
export async function views(it) {
  const found = [];
  for (const name of it.views) {
    const show = VIEWS[name];
    // What checks the page is no part of it, so the policy of the page would keep it out.
    const page = await show(it, { bypassCSP: true, reducedMotion: "reduce" });
    await page.evaluate(axe);
    for (const [colorScheme, width] of [["light", 1200], ["dark", 320]]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 800 });
      const { violations } = await page.evaluate(() => window.axe.run());
      const told = violations.map(({ id, nodes }) => `${id} ${nodes.map(({ html }) => html).join(" ").slice(0, 300)}`);
      found.push(...[...told, ...(await tooWide(page))].map((what) => `${name}, ${colorScheme}, ${width}: ${what}`));
    }
    await page.evaluate(lengthen);
    found.push(...(await tooWide(page)).map((what) => `${name}, longer words: ${what}`));
    await page.context().close();
  }
  return found;
}

/** What makes the page wider than its window. */
function tooWide(page) {
  return page.evaluate(() => {
    if (document.documentElement.scrollWidth <= innerWidth) return [];
    const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
    return wide.map(({ tagName, className }) => `too wide: ${tagName} ${className}`);
  });
}

/** Makes each word as much longer as German makes some. */
function lengthen() {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    text.data = text.data.replace(/[a-z]{4,}/gi, (word) => word + word.slice(1) + word.slice(2).toLowerCase());
  }
}

/** Signs in, chooses a view and makes an address without a pointer, and hears what the page says meanwhile. */
export async function keyboard(it) {
  const page = await it.open();
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.id);
  await page.keyboard.press("Shift+Tab");
  const stops = [];
  await page.evaluate(() => document.body.focus());
  await page.focus("#skip");
  await page.keyboard.press("Enter");
  stops.push(await page.evaluate(() => document.activeElement.id));
  await page.keyboard.press("Tab");
  stops.push(await focused());
  await page.keyboard.type(it.token);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#give:not([hidden])");
  stops.push(await focused());
  for (let step = 0; step < 2; step += 1) {
    await page.keyboard.press("Tab");
    stops.push(await focused());
  }
  await page.focus('#views [href="#ask"]');
  await page.keyboard.press("Enter");
  await page.waitForSelector("#ask:not([hidden])");
  stops.push(await focused());
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".handout");
  return { stops, said: await page.textContent("#ask [role=status]"), title: await page.title() };
}
