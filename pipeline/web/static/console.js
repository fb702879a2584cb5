// A job as it happens, and an inclusion proof computed here. Without this every page works as a page.
const root = document.documentElement;
root.classList.add("scripted");
const $ = (id) => document.getElementById(id);

// ── a job until its end; then the page is loaded again, as the service tells it ──
const work = $("work");
if (work && work.dataset.follow) {
  const stages = [...document.querySelectorAll("[data-stage]")];
  const names = stages.map((stage) => stage.dataset.stage);
  const source = new EventSource(work.dataset.follow);
  let state = work.dataset.state;
  // 64 colours of what is being drawn: all that is shown of it before it is judged.
  const glimpse = (seen) => {
    const canvas = $("glimpse");
    canvas.hidden = !seen;
    if (!seen) return;
    const brush = canvas.getContext("2d");
    for (let n = 0; n < seen.columns * seen.rows; n += 1) {
      brush.fillStyle = `#${seen.colours.slice(3 * n, 3 * n + 3)}`;
      brush.fillRect(n % seen.columns, Math.floor(n / seen.columns), 1, 1);
    }
  };
  const told = (event) => {
    const job = JSON.parse(event.data);
    if (job.ended || job.state !== state) {
      source.close();
      window.location.reload();
      return;
    }
    state = job.state;
    $("bar").value = job.percent;
    glimpse(job.preview);
    const now = names.indexOf(job.stage);
    if (now < 0) return;
    stages.forEach((stage, number) => {
      stage.className = number < now ? "is-done" : number === now ? "is-now" : "is-next";
    });
  };
  source.addEventListener("state", told);
  for (const name of ["progress", "verdict", "preview"]) source.addEventListener(name, told);
  // The stream ended without the job's end, or cannot be had: look again a little later. Not before there is something
  // to load: a page that was left open over night, or on a train, would become the browser's own page of an error.
  const again = (wait) =>
    window.setTimeout(async () => {
      try {
        const answer = await fetch(window.location.href, { method: "HEAD", cache: "no-store" });
        if (answer.status < 500 && answer.status !== 429) {
          window.location.reload();
          return;
        }
      } catch {
        // no network, or no service
      }
      again(Math.min(2 * wait, 60000));
    }, wait);
  source.addEventListener("error", () => {
    source.close();
    again(3000);
  });
}

// ── RFC 9162, 2.1.3.2: from the entry's bytes to the root, with this browser's own SHA-256 ──
const prove = $("prove");
if (prove) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const hash = async (...parts) => {
    const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let at = 0;
    for (const part of parts) {
      whole.set(part, at);
      at += part.length;
    }
    return new Uint8Array(await crypto.subtle.digest("SHA-256", whole));
  };
  const leadsTo = async ({ leaf, index, size, hashes, root: wanted }) => {
    let place = BigInt(index), last = BigInt(size) - 1n;
    if (place > last) return false;
    let result = await hash(Uint8Array.of(0), bytes(leaf));
    for (const text of hashes ? hashes.split(" ") : []) {
      if (last === 0n) return false;
      const sibling = bytes(text);
      if (place % 2n === 1n || place === last) {
        result = await hash(Uint8Array.of(1), sibling, result);
        while (place % 2n === 0n && place !== 0n) {
          place /= 2n;
          last /= 2n;
        }
      } else {
        result = await hash(Uint8Array.of(1), result, sibling);
      }
      place /= 2n;
      last /= 2n;
    }
    const root = bytes(wanted);
    return last === 0n && root.length === result.length && root.every((byte, number) => byte === result[number]);
  };
  prove.addEventListener("click", async () => {
    if (!window.crypto || !crypto.subtle) {
      $("proved").textContent = prove.dataset.none;
      return;
    }
    const holds = await leadsTo(prove.dataset);
    $("proved").textContent = holds ? prove.dataset.holds : prove.dataset.broken;
    $("proved").dataset.holds = String(holds);
  });
}
