const form = document.getElementById("what-if");
const jobs = JSON.parse(document.getElementById("jobs-data").textContent);
const rows = [...document.querySelectorAll("#jobs tbody tr")];
const [epochs, samples, price] = ["epochs", "samples", "price"].map(name => form.elements[name]);
for (const head of document.querySelectorAll("#jobs thead tr")) head.insertCell().outerHTML = '<th scope="col">yours, s</th>';
const cells = rows.map(row => row.insertCell());
function tell() {
  jobs.forEach(([start, compile, training, rest, size, measured], n) => {
    const share = samples.value > 0 ? samples.value / size : 1;
    const seconds = start + compile + epochs.value * (training * share + rest);
    const far = epochs.value > 10 * measured || share < 0.1 || share > 10;
    const short = (value, digits) => Number(value.toPrecision(digits)).toLocaleString("en-GB");
    const cost = price.value > 0 ? ` (${short(seconds / 3600 * price.value, 2)})` : "";
    cells[n].textContent = (far ? "~" : "") + short(seconds, far ? 2 : 3) + cost;
    cells[n].dataset.seconds = seconds;
  });
}
form.addEventListener("input", tell);
form.hidden = false;
tell();
