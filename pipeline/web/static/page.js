// Progress, dropping, pasting, and the answer put into the page. Without this the form is sent as any form.
const root = document.documentElement;
const form = document.getElementById("form");

// What the service answers is its own template with everything escaped; nothing else ever becomes markup.
const policy = window.trustedTypes
  ? window.trustedTypes.createPolicy("filigrana", { createHTML: (text) => text })
  : { createHTML: (text) => text };

if (form) {
  root.classList.add("scripted");
  const $ = (id) => document.getElementById(id);
  const file = $("file"), url = $("url"), sidecar = $("sidecar"), drop = $("drop");
  const state = $("state"), text = $("state-text"), bar = $("state-bar"), answer = $("answer");
  let running = null;

  const say = (words, percent) => {
    state.hidden = false;
    if (text.textContent !== words) text.textContent = words;
    if (percent === null) bar.removeAttribute("value");
    else bar.value = percent;
  };

  const show = (html) => {
    state.hidden = true;
    answer.innerHTML = policy.createHTML(html);
    const found = answer.querySelector("[data-finding]");
    $("ask").hidden = Boolean(found);
    $("how").hidden = Boolean(found);
    $("title").classList.toggle("small", Boolean(found));
    const verdict = answer.querySelector("#verdict");
    if (!verdict) return;
    // Screen readers read what gets the focus: the finding itself.
    verdict.focus({ preventScroll: true });
    (found || verdict).scrollIntoView({ block: "start" });
    const again = answer.querySelector(".again");
    if (again) again.addEventListener("click", restart);
  };

  const fail = (message) => {
    state.hidden = true;
    answer.replaceChildren();
    const section = document.createElement("section");
    section.className = "result is-unreadable";
    const box = document.createElement("div");
    box.className = "verdict";
    box.id = "verdict";
    box.tabIndex = -1;
    box.setAttribute("role", "alert");
    const word = document.createElement("p");
    word.className = "word";
    word.textContent = form.dataset.failed;
    const head = document.createElement("h2");
    head.textContent = message;
    box.append(word, head);
    section.append(box);
    answer.append(section);
    box.focus();
  };

  const restart = (event) => {
    event.preventDefault();
    answer.replaceChildren();
    form.reset();
    $("ask").hidden = false;
    $("how").hidden = false;
    $("title").classList.remove("small");
    file.focus();
    window.scrollTo(0, 0);
  };

  const send = (given) => {
    if (running) running.abort();
    const data = new FormData();
    if (given) {
      if (given.size > Number(form.dataset.most)) return fail(form.dataset.tooLarge);
      data.append("file", given, given.name || "pasted");
    } else {
      data.append("url", url.value.trim());
    }
    if (sidecar.files.length) data.append("sidecar", sidecar.files[0]);
    const request = new XMLHttpRequest();
    running = request;
    answer.replaceChildren();
    say(form.dataset.uploading.replace("{percent}", "0"), 0);
    request.open("POST", form.action);
    request.setRequestHeader("X-Filigrana-Part", "result");
    request.setRequestHeader("Accept", "text/html");
    request.upload.onprogress = (event) => {
      const percent = event.total ? Math.floor((100 * event.loaded) / event.total) : 0;
      say(form.dataset.uploading.replace("{percent}", String(percent - (percent % 10))), percent);
    };
    request.upload.onload = () => say(form.dataset.checking, null);
    request.onload = () => {
      running = null;
      if ((request.getResponseHeader("Content-Type") || "").startsWith("text/html")) show(request.responseText);
      else fail(form.dataset.noNetwork);
    };
    request.onerror = () => {
      running = null;
      fail(form.dataset.noNetwork);
    };
    request.send(data);
    return undefined;
  };

  file.addEventListener("change", () => file.files.length && send(file.files[0]));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (url.value.trim()) send(null);
    else if (file.files.length) send(file.files[0]);
    else url.focus();
  });
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const given = event.dataTransfer && event.dataTransfer.files[0];
    if (given) send(given);
  });
  document.addEventListener("paste", (event) => {
    const given = event.clipboardData && event.clipboardData.files[0];
    if (given) {
      event.preventDefault();
      send(given);
    }
  });
}
