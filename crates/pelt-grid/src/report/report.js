"use strict";

// Every header of a table becomes a button that sorts by its column: numbers begin with the largest, texts with the first. Cells
// without a value stay at the end, and a third press brings back the order in which the report was written.
(() => {
  const valueOf = (row, index) => {
    const cell = row.cells[index];
    if (!cell) return null;
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.querySelector(".value")?.textContent.trim() ?? "";
    return text === "" || text === "–" ? null : text;
  };

  const compare = (left, right, sign) => {
    if (left === null || right === null) return (left === null) - (right === null);
    if (typeof left === "number" && typeof right === "number") return sign * (left - right);
    if (typeof left !== typeof right) return typeof left === "number" ? -1 : 1;
    return sign * left.localeCompare(right, "en", { numeric: true });
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const written = [...body.rows];
    const headers = [...table.tHead.rows[0].cells];
    headers.forEach((header, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      const order = header.classList.contains("number")
        ? ["descending", "ascending"]
        : ["ascending", "descending"];
      button.addEventListener("click", () => {
        const next = order[order.indexOf(header.getAttribute("aria-sort")) + 1];
        for (const other of headers) other.removeAttribute("aria-sort");
        const rows = [...written];
        if (next) {
          header.setAttribute("aria-sort", next);
          const sign = next === "ascending" ? 1 : -1;
          rows.sort((left, right) => compare(valueOf(left, index), valueOf(right, index), sign));
        }
        body.append(...rows);
      });
    });
  }
})();
