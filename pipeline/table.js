// The table of scans on a page: sorted by a click on a column's head, filtered by text, warnings and volume.
"use strict";
(() => {
  const table = document.getElementById("scans");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows], controls = document.getElementById("filters");
  const heads = [...table.tHead.rows[0].cells].filter((head) => head.dataset.key);
  const text = controls.querySelector("[name=text]"), attention = controls.querySelector("[name=attention]");
  const volume = controls.querySelector("[name=volume]"), number = controls.querySelector("output");

  function filter() {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean), least = Number(volume.value) || 0;
    let left = 0;
    for (const row of rows) {
      const found = words.every((word) => row.dataset.text.includes(word));
      row.hidden = !(found && (!attention.checked || row.dataset.attention) && (!least || Number(row.dataset.volume) >= least));
      left += !row.hidden;
    }
    number.textContent = `${left} of ${rows.length} shown`;
  }

  function sort(head) {
    const falling = head.getAttribute("aria-sort") === "descending";
    const rising = head.getAttribute("aria-sort") === "ascending";
    // Numbers begin with the highest, names with the first; the third click gives the order of the page.
    const first = "number" in head.dataset ? "descending" : "ascending";
    const second = first === "descending" ? "ascending" : "descending";
    const now = falling || rising ? (head.getAttribute("aria-sort") === first ? second : "") : first;
    for (const other of heads) other.removeAttribute("aria-sort");
    if (now) head.setAttribute("aria-sort", now);
    const key = now ? head.dataset.key : "order", sign = now === "descending" ? -1 : 1;
    const isNumber = key === "order" || "number" in head.dataset;
    const value = (row) => (row.dataset[key] === "" ? null : isNumber ? Number(row.dataset[key]) : row.dataset[key]);
    const compare = (a, b) => {
      const [one, other] = [value(a), value(b)];
      if (one === null || other === null) return (one === null) - (other === null); // what is unknown comes last
      return sign * (isNumber ? one - other : one.localeCompare(other, undefined, { numeric: true }));
    };
    body.append(...rows.sort((a, b) => compare(a, b) || a.dataset.order - b.dataset.order));
  }

  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(head));
  }
  for (const input of [text, attention, volume]) input.addEventListener("input", filter);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.hidden = false;
  filter();
})();
