// The document: values go in as text, never as markup, because product names come from anywhere.

export const byId = (id) => document.getElementById(id);

/** Set a text only where it differs, so that nothing that stays the same is drawn or read aloud again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** A link to this page with another address; as plain text where there is none. */
export function link(href, text, className = "") {
  const made = element(href ? "a" : "span", className, text);
  if (href) made.href = href;
  return made;
}

/** Make what a link shows and where it leads follow; without an address it leads nowhere. */
export function setLink(made, href, text) {
  setText(made, text);
  setAttribute(made, "href", href);
}

/** A table of rows of texts and elements, the first cell of each the row's name. */
export function table(columns, rows, caption) {
  const made = element("table");
  const head = element("thead");
  const names = element("tr");
  for (const { name, isText } of columns) {
    const cell = element("th", isText ? "text" : "", name);
    cell.scope = "col";
    names.append(cell);
  }
  head.append(names);
  const body = element("tbody");
  for (const row of rows) {
    const line = element("tr");
    row.forEach((value, place) => {
      const cell = element(place ? "td" : "th", columns[place].isText ? "text" : "");
      if (!place) cell.scope = "row";
      cell.append(value ?? "–");
      line.append(cell);
    });
    body.append(line);
  }
  if (caption) made.append(element("caption", "hidden", caption));
  made.append(head, body);
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
