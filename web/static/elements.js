// The document: values go in as text, never as markup, because product names come from anywhere.

export const byId = (id) => document.getElementById(id);

/** Set a text only where it differs, so that nothing that stays the same is drawn or read aloud again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/**
 * Make the children of a parent follow a list, keeping the child of each key: what stays is moved and updated, not
 * drawn anew, so it keeps its focus and its transitions.
 */
export function follow(parent, items, keyOf, make, update) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const key = keyOf(item);
    const child = before.get(key) ?? make(item);
    before.delete(key);
    child.dataset.key = key;
    update(child, item, index);
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
  before.forEach((child) => child.remove());
}
