// The log of a deployment: its lines, a search in them, and the way to the first error.

import { Painter } from "./ansi.js";
import { element, say } from "./element.js";
import { countText } from "./text.js";

/** More lines are not shown, but the last ones; a download has all. */
const MAX_LINES = 20_000;
const BLOCK_LINES = 200;
const ERROR = /\b(?:error|fatal|failed|failure|panic(?:ked)?|exception|traceback)\b/i;

export class Log {
  constructor(card) {
    const find = (selector) => card.querySelector(selector);
    this.place = find(".lines");
    [this.search, this.matchText, this.next, this.followButton] = [find("input"), find(".matches"), find(".next-match"), find(".follow")];
    this.search.oninput = () => this.find();
    this.search.onkeydown = ({ key }) => key === "Enter" && this.goToNext();
    this.next.onclick = () => this.goToNext();
    find(".first-error").onclick = () => this.toFirstError();
    this.followButton.onclick = () => this.setFollowing(!this.isFollowing);
    this.place.onscroll = () => {
      const { scrollTop, scrollHeight, clientHeight } = this.place;
      const isAtEnd = scrollTop + clientHeight >= scrollHeight - 40;
      // Whoever scrolls up wants to read; what comes must not take it away.
      if (isAtEnd !== this.isFollowing && (isAtEnd || scrollTop < this.lastTop)) this.setFollowing(isAtEnd);
      this.lastTop = scrollTop;
    };
    this.clear();
  }

  clear() {
    this.place.replaceChildren();
    [this.lines, this.rest, this.painter, this.lastTop] = [[], "", new Painter(), 0];
    this.setFollowing(true);
    this.find();
  }

  /** Adds what has been written. The end of a line may come later. */
  append(text) {
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.addLine(line);
    while (this.lines.length > MAX_LINES) this.dropBlock();
    if (this.search.value) this.find();
    if (this.isFollowing) this.toEnd();
  }

  /** Nothing more will come. */
  end() {
    if (this.rest) this.append("\n");
  }

  addLine(text) {
    const line = this.painter.line(text);
    let block = this.place.lastElementChild;
    if (!block || block.childElementCount >= BLOCK_LINES) {
      block = element("div", { className: "block" });
      this.place.append(block);
    }
    block.append(line);
    this.lines.push(line);
  }

  dropBlock() {
    this.lines.splice(0, this.place.firstElementChild.childElementCount);
    this.place.firstElementChild.remove();
  }

  find() {
    const wanted = this.search.value.toLowerCase();
    const current = this.matches?.[this.at];
    for (const line of this.matches ?? []) line.classList.remove("found");
    this.matches = wanted ? this.lines.filter((line) => line.textContent.toLowerCase().includes(wanted)) : [];
    for (const line of this.matches) line.classList.add("found");
    this.at = this.matches.indexOf(current);
    this.next.hidden = this.matches.length === 0;
    this.sayMatches();
  }

  goToNext() {
    if (this.matches.length === 0) return;
    this.at = (this.at + 1) % this.matches.length;
    this.show(this.matches[this.at]);
    this.sayMatches();
  }

  sayMatches() {
    const place = this.at < 0 ? "" : `${this.at + 1} of `;
    say(this.matchText, this.search.value && place + countText(this.matches.length, "line"));
  }

  toFirstError() {
    const line = this.lines.find(({ textContent }) => ERROR.test(textContent));
    if (line) this.show(line);
    else say(this.matchText, "No line looks like an error.");
  }

  show(line) {
    this.setFollowing(false);
    this.place.querySelector(".at")?.classList.remove("at");
    line.classList.add("at");
    line.scrollIntoView({ block: "center" });
    this.lastTop = this.place.scrollTop;
  }

  setFollowing(isFollowing) {
    this.isFollowing = isFollowing;
    this.followButton.setAttribute("aria-pressed", isFollowing);
    if (isFollowing) this.toEnd();
  }

  toEnd() {
    this.place.scrollTop = this.place.scrollHeight;
  }
}
