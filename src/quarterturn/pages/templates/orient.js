// The review of `quarterturn orient`: check boxes to lines of orient.csv. Nothing is fetched or sent.
(() => {
  "use strict";
  const byId = (id) => document.getElementById(id);
  const table = JSON.parse(byId("rows").textContent);
  const entries = [...document.querySelectorAll(".candidates > li")].map((item, number) => ({
    box: item.querySelector("input"),
    after: item.querySelector(".after .plate"),
    degrees: item.querySelector(".degrees"),
    further: item.querySelector(".further"),
    probability: Number(item.dataset.probability),
    row: table.rows[number],
  }));
  const THRESHOLDS = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
  if (!entries.length) return;

  function count() {
    const checked = entries.filter((one) => one.box.checked).length;
    byId("count").textContent = `${checked.toLocaleString("en")} of ${entries.length.toLocaleString("en")} checked`;
    byId("done").textContent = "";
  }

  function check(wanted) {
    for (const one of entries) one.box.checked = wanted(one);
    count();
  }

  // From one turn to the next of the three: a photo may be turned, and by another angle.
  function turnFurther(one) {
    const degrees = (Number(one.row[table.turn]) % 270) + 90;
    one.row[table.turn] = String(degrees);
    one.after.className = `plate turned-${degrees / 90}`;
    one.degrees.textContent = `turn ${degrees}°, by you`;
    one.box.checked = true;
    count();
  }

  const cell = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  function csv() {
    entries.forEach((one) => { one.row[table.applies] = one.box.checked ? "yes" : "no"; });
    return [table.columns, ...table.rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  }

  // A file name need not be UTF-8: its odd bytes are lone surrogates, DC80 and up, as in Python.
  function bytes(text) {
    const parts = text.split(/([\udc80-\udcff])/u);
    return new Blob(
      parts.map((part) => {
        const odd = part.length === 1 && part >= "\udc80" && part <= "\udcff";
        return odd ? new Uint8Array([part.charCodeAt(0) & 0xff]) : part;
      }),
      { type: "text/csv" },
    );
  }

  function save() {
    const file = document.createElement("a");
    file.href = URL.createObjectURL(bytes(csv()));
    file.download = "orient.csv";
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 1000);
    byId("done").textContent = "Saved as orient.csv.";
  }

  for (const one of entries) {
    one.box.disabled = false;
    one.further.hidden = false;
    one.box.addEventListener("change", count);
    one.further.addEventListener("click", () => turnFurther(one));
  }
  byId("threshold").append(new Option("probability", ""));
  for (const each of THRESHOLDS) byId("threshold").append(new Option(`${Math.round(100 * each)} %`, each));
  byId("threshold").addEventListener("change", (event) => {
    if (event.target.value) check((one) => one.probability >= Number(event.target.value));
  });
  byId("all").addEventListener("click", () => check(() => true));
  byId("none").addEventListener("click", () => check(() => false));
  byId("save").addEventListener("click", save);
  byId("review").hidden = false;
  count();
})();
