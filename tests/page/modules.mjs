// The modules of the page that need no browser. Usage: node modules.mjs TOOLS FOLDER-OF-THE-PAGE

import assert from "node:assert";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [tools, page] = process.argv.slice(2);
const readCode = createRequire(pathToFileURL(`${tools}/npm/`))("jsqr");

// Node takes a .js file for a module only where a package.json says so, which the page has no use for.
const copy = fs.mkdtempSync(path.join(os.tmpdir(), "page-"));
fs.cpSync(page, copy, { recursive: true });
fs.writeFileSync(path.join(copy, "package.json"), '{"type":"module"}');
const load = (name) => import(pathToFileURL(path.join(copy, name)));

/** Each version has more than one text; the longest one fits exactly. */
async function codes() {
  const { qrCode } = await load("qr.js");
  const sizes = new Set();
  for (const length of [...Array.from({ length: 20 }, (_, step) => 1 + step * 45), 858]) {
    const text = Array.from({ length }, (_, at) => String.fromCharCode(33 + ((at * 7 + length) % 90))).join("");
    const grid = qrCode(text);
    sizes.add(grid.length);
    const [scale, quiet] = [2, 4];
    const width = (grid.length + 2 * quiet) * scale;
    const pixels = new Uint8ClampedArray(width * width * 4).fill(255);
    for (let y = 0; y < width; y += 1) {
      for (let x = 0; x < width; x += 1) {
        const isDark = grid[Math.floor(y / scale) - quiet]?.[Math.floor(x / scale) - quiet];
        if (isDark) pixels.fill(0, (y * width + x) * 4, (y * width + x) * 4 + 3);
      }
    }
    assert.equal(readCode(pixels, width, width)?.data, text, `a code of ${length} bytes`);
  }
  assert.ok(sizes.size >= 15, `${sizes.size} versions were tried`);
  assert.throws(() => qrCode("x".repeat(859)), RangeError);
}

/** What is packed is listed, with names that need a note and sizes at the edges of blocks. */
async function archives() {
  const { tar, pack } = await load("pack.js");
  const { entriesOf } = await load("untar.js");
  const file = (size) => Object.assign(new Blob([new Uint8Array(size)]), { name: "x", lastModified: 1e12 });
  const entries = [0, 1, 511, 512, 513, 1024].map((size) => ({ path: `of/${size}`, file: file(size) }));
  for (const name of ["x".repeat(99), "x".repeat(100), "x".repeat(101), "ä".repeat(600), "plain"]) {
    entries.push({ path: `names/${name}`, file: file(3) });
  }
  entries.push({ path: "folder" });
  const expected = entries.map(({ path, file }) => (file ? `${path} ${file.size}` : `${path}/ 0`));
  const listed = async (stream) => {
    const found = [];
    for await (const entry of entriesOf(stream)) found.push(`${entry.path} ${entry.size}`);
    return found;
  };
  assert.deepEqual(await listed(ReadableStream.from(tar(entries))), expected);
  const unpacked = pack(entries, () => {}).pipeThrough(new DecompressionStream("gzip"));
  assert.deepEqual(await listed(unpacked), expected);
  await assert.rejects(listed(new Blob([new Uint8Array(600).fill(1)]).stream()), /no tar/);
  const grown = { size: 5, name: "x", lastModified: 0, slice: () => new Blob([new Uint8Array(9)]) };
  await assert.rejects(listed(ReadableStream.from(tar([{ path: "grown", file: grown }]))), /changed/);
}

/** Sizes, times, and a link and its end. */
async function texts() {
  globalThis.location = { href: "https://x.example/deploy/get?a#b" };
  const { sizeText, durationText, countText } = await load("text.js");
  assert.deepEqual([0, 1023, 1024, 1536, 150 * 1024, 2 ** 30].map(sizeText), ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 KiB", "150 KiB", "1.0 GiB"]);
  assert.deepEqual([0, 0.2, 59, 60, 3600, 90000].map(durationText), ["0 s", "1 s", "59 s", "1 min 0 s", "1 h 0 min", "1 d 1 h"]);
  assert.equal(countText(1, "file") + countText(1000, "file"), "1 file1,000 files");
  const { readLink, readForeignLink, takePage } = await load("links.js");
  const text = `https://y.example/v1/sources/0190a1b2-c3d4-8000-8000-000000000000?token=${"0".repeat(32)}`;
  const link = readLink(text);
  assert.equal(link.expiresAt, 0x0190a1b2c3d4);
  assert.equal(link.address, text.replace("y.example", "x.example/deploy"));
  assert.equal(takePage(link), `https://y.example/get#${text}`);
  assert.throws(() => readForeignLink(text), /another server/);
  for (const wrong of [text.slice(1), `${text}0`, text.toUpperCase(), `javascript:${text}`, ""]) assert.throws(() => readLink(wrong), /no link/);
}

try {
  await codes();
  await archives();
  await texts();
} finally {
  fs.rmSync(copy, { recursive: true });
}
