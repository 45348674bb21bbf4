// Which view is shown, and who is signed in. A view is a section of index.html, and a file beside this one.

import { isSignedIn, signIn } from "./api.js";
import { openAsk } from "./ask.js";
import { openDrop } from "./drop.js";
import { say } from "./element.js";
import { openGive } from "./give.js";
import { openTake, openTakePage } from "./take.js";
import { openWatch } from "./watch.js";

const find = (id) => document.getElementById(id);

/** The views of `/`, by what is behind `#`. */
const VIEWS = {
  give: { open: openGive, needsUser: true },
  ask: { open: openAsk, needsUser: true },
  take: { open: openTake, needsUser: false },
  watch: { open: openWatch, needsUser: true },
};

/** Pages that others are given, which have one view and no way to the others. */
const PAGES = { drop: ["drop", openDrop], get: ["take", openTakePage] };

function start() {
  find("skip").onclick = (event) => {
    event.preventDefault(); // What is behind '#' says which view there is.
    find("content").focus();
  };
  for (const type of ["dragover", "drop"]) {
    window.addEventListener(type, (event) => event.preventDefault()); // What misses its place must not replace the page.
  }
  const page = PAGES[location.pathname.split("/").pop()];
  if (page) {
    const [id, open] = page;
    show(id);
    open(find(id));
    window.onhashchange = () => location.reload();
    return;
  }
  find("views").hidden = false;
  find("sign-in").querySelector("form").onsubmit = onSignIn;
  find("sign-out").onclick = () => location.reload(); // So nothing stays of what the user has seen.
  window.onhashchange = showWanted;
  showWanted();
}

function wanted() {
  const [name] = location.hash.slice(1).split("/");
  return VIEWS[name] ? name : "give";
}

function showWanted() {
  const name = wanted();
  const { open, needsUser } = VIEWS[name];
  for (const link of find("views").children) link.ariaCurrent = link.hash === `#${name}` ? "page" : null;
  if (needsUser && !isSignedIn()) {
    show("sign-in");
    find("token").focus();
    return;
  }
  show(name);
  open(find(name));
}

function show(id) {
  for (const section of find("content").querySelectorAll(":scope > section")) section.hidden = section.id !== id;
  find("content").classList.toggle("wide", id === "watch");
  const heading = find(id).querySelector("h1");
  document.title = `${heading.textContent} · waystation`;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

async function onSignIn(event) {
  event.preventDefault();
  const [field, problem] = [find("token"), find("sign-in").querySelector(".problem")];
  const button = event.target.querySelector("button");
  say(problem);
  button.disabled = true;
  try {
    const user = await signIn(field.value.trim());
    field.value = "";
    find("who-name").textContent = user.username;
    find("who").hidden = false;
    showWanted();
  } catch (error) {
    say(problem, error.message);
    field.focus();
  }
  button.disabled = false;
}

start();
