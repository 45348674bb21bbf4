// What somebody dropped or chose, as something to send: an archive as it is, all else to be packed.

import { countText } from "./text.js";

/** As many as a runner unpacks. */
const MAX_ENTRIES = 200_000;

/** How archives begin, in hex: gzip, zstd, xz, bzip2, lz4, zip, 7z. A tar says so behind its first name. */
const BEGINNINGS = ["1f8b", "28b52ffd", "fd377a585a00", "425a68", "04224d18", "504b0304", "377abcaf271c"];
const [TAR_MARK, TAR_MARK_AT] = ["7573746172", 257];

/**
 * The entries of what was dropped, folders with all that is in them, empty ones too. `onCount` is told how many there are
 * so far. Has to be called by the handler of the drop itself, since later the browser does not give them any more.
 */
export async function entriesOfDrop(transfer, onCount) {
  const dropped = [...transfer.items].filter(({ kind }) => kind === "file").map((item) => item.webkitGetAsEntry());
  const found = [];
  for (const entry of dropped.filter(Boolean)) await walk(entry, entry.name, found, onCount);
  return found;
}

async function walk(entry, path, found, onCount) {
  const file = entry.isFile ? await promised((done, failed) => entry.file(done, failed), path) : undefined;
  found.push({ path, file });
  if (found.length > MAX_ENTRIES) throw new Error(`There are more than ${countText(MAX_ENTRIES, "file")} in there. Pack them with tar, and give that.`);
  onCount(found.length);
  if (entry.isFile) return;
  const reader = entry.createReader();
  for (;;) {
    // Each call gives some of them.
    const some = await promised((done, failed) => reader.readEntries(done, failed), path);
    if (some.length === 0) return;
    for (const inner of some) await walk(inner, `${path}/${inner.name}`, found, onCount);
  }
}

function promised(start, path) {
  return new Promise(start).catch(() => {
    throw new Error(`${path} cannot be read.`);
  });
}

/** The entries of what was chosen; of a folder, those that are files. */
export function entriesOfFiles(files) {
  return [...files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
}

/** What is to be sent: { name, size, file } as it is, or { name, size, entries } to be packed. */
export async function contentOf(entries) {
  if (entries.length === 0) throw new Error("There is nothing in what you dropped that could be sent.");
  const [{ path, file }] = entries;
  if (entries.length === 1 && file && (await isArchive(file))) return { name: path, size: file.size, file };
  const sorted = entries.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const size = sorted.reduce((sum, entry) => sum + (entry.file?.size ?? 0), 0);
  const roots = new Set(sorted.map((entry) => entry.path.split("/")[0]));
  return { name: `${roots.size === 1 ? [...roots][0] : "files"}.tar.gz`, size, entries: sorted };
}

async function isArchive(file) {
  const buffer = await file.slice(0, 300).arrayBuffer().catch(() => {
    throw new Error(`${file.name} cannot be read.`);
  });
  const hex = [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return BEGINNINGS.some((beginning) => hex.startsWith(beginning)) || hex.startsWith(TAR_MARK, 2 * TAR_MARK_AT);
}
