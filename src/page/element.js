// Makes elements. What comes from a server, a file or an address becomes text, never markup.

/** A new element with properties, or attributes where there is no such property. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A copy of what is in the template of that id. */
export function fromTemplate(id) {
  return document.getElementById(id).content.firstElementChild.cloneNode(true);
}

/** Shows a sentence in its place, or hides the place where there is none. */
export function say(place, sentence) {
  place.textContent = sentence ?? "";
  place.hidden = !sentence;
}

/** Text of strangers without what would turn its direction or hide in it. */
export function plain(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "\uFFFD");
}
