// Finding and creating elements of the page.

export const by = (id) => document.getElementById(id);

// Create an element with text, attributes, listeners ("on...") and children; text is never parsed as HTML.
export function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}
