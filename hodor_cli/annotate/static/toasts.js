// Short messages over the picture.

import { by, make } from "./elements.js";

// Show a sentence. Its first word is capitalised, unless that is a file name.
export function toast(sentence, kind = "") {
  const text = sentence.replace(/^[a-z]+(?=[ ;])/, (word) => word[0].toUpperCase() + word.slice(1));
  const element = make("div", { class: `toast ${kind}`, text });
  const list = by("toasts");
  [...list.children].find((one) => one.textContent === text)?.remove();
  list.append(element);
  while (list.children.length > 3) list.firstChild.remove();
  list.hidePopover();
  list.showPopover();   // again, so that it is above a dialog
  setTimeout(() => element.remove(), Math.max(kind === "bad" ? 9000 : 3500, 70 * text.length));
}
