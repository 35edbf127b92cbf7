// What Gradio does not do by itself. Loaded once, in the page's head; knows element ids that begin with "sd-".
(() => {
  "use strict";
  const BARRED = "⊘";
  const DARK = "sd-dark";

  const dark = (on) => {
    document.body.classList.toggle("dark", on);
    // Gradio writes there what it was at first.
    document.body.style.background = "var(--body-background-fill)";
  };

  window.sdPage = {
    toggleDark() {
      const on = !document.body.classList.contains("dark");
      dark(on);
      localStorage.setItem(DARK, on ? "yes" : "no");
    },
  };

  const visible = (element) => element && element.offsetParent !== null;

  // Ctrl+Enter: the button of the tab that is open.
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      const button = [...document.querySelectorAll("button.sd-generate")].find(visible);
      if (!button || button.disabled) return;
      event.preventDefault();
      event.stopPropagation();
      // A text that is being written counts only once its field has told of it.
      if (document.activeElement) document.activeElement.dispatchEvent(new Event("input", { bubbles: true }));
      setTimeout(() => button.click(), 50);
    },
    true,
  );

  // An option that cannot be used can be read, and not be chosen.
  const isBarred = (option) => option.textContent.includes(BARRED);

  // What is empty says so by a sign: a name is for what has a role.
  const nameSigns = () => {
    for (const sign of document.querySelectorAll(".empty[aria-label]:not([role])")) sign.setAttribute("role", "img");
  };

  // The name of a field is its label alone; what stands below the label describes it.
  let described = 0;
  const describe = () => {
    for (const label of document.querySelectorAll('[data-testid="block-info"]')) {
      const block = label.closest(".block");
      const fields = block ? block.querySelectorAll("textarea, input:not([type=range])") : [];
      const info = block && block.querySelector(".info-text");
      if (info && !info.id) info.id = `sd-info-${(described += 1)}`;
      for (const field of fields) {
        if (!field.hasAttribute("aria-label")) field.setAttribute("aria-label", label.textContent.trim());
        if (info) field.setAttribute("aria-describedby", info.id);
        else field.removeAttribute("aria-describedby");
        if (block.classList.contains("sd-refused")) field.setAttribute("aria-invalid", "true");
        else field.removeAttribute("aria-invalid");
      }
    }
  };

  const barOptions = (root) => {
    for (const option of root.querySelectorAll('[role="option"]')) {
      if (isBarred(option)) option.setAttribute("aria-disabled", "true");
      else option.removeAttribute("aria-disabled");
    }
  };
  for (const kind of ["mousedown", "click", "pointerdown"]) {
    document.addEventListener(
      kind,
      (event) => {
        const option = event.target.closest && event.target.closest('[role="option"]');
        if (option && isBarred(option)) {
          event.preventDefault();
          event.stopImmediatePropagation();
        }
      },
      true,
    );
  }

  // The editor shows itself before it can take a picture, for seconds where the machine is slow, and would lose
  // one: what comes early is kept until its tools are there.
  const early = new WeakMap();
  for (const kind of ["change", "drop"]) {
    document.addEventListener(
      kind,
      (event) => {
        const canvas = event.target.closest && event.target.closest(".image-container");
        const files = kind === "drop" ? event.dataTransfer && event.dataTransfer.files : event.target.files;
        if (!canvas || !canvas.querySelector(".pixi-target") || !files || !files.length) return;
        if (canvas.querySelector(".toolbar-wrap")) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        early.set(canvas, [...files]);
        canvas.setAttribute("aria-busy", "true");
      },
      true,
    );
  }
  const giveEarly = () => {
    for (const canvas of document.querySelectorAll('.image-container[aria-busy="true"]')) {
      if (!canvas.querySelector(".toolbar-wrap")) continue;
      canvas.removeAttribute("aria-busy");
      const kept = new DataTransfer();
      for (const file of early.get(canvas)) kept.items.add(file);
      early.delete(canvas);
      canvas.dispatchEvent(new DragEvent("drop", { dataTransfer: kept, bubbles: true, cancelable: true }));
    }
  };

  // What the editor cannot read it leaves out without a word.
  const said = new WeakMap();
  const judge = async (editor, file) => {
    const readable = await createImageBitmap(file).then(
      (bitmap) => (bitmap.close(), true),
      () => false,
    );
    said.get(editor)?.remove();
    if (readable) return;
    const sentence = document.createElement("div");
    sentence.className = "block sd-beside sd-unreadable";
    sentence.setAttribute("role", "alert");
    sentence.textContent = window.sdNotAPicture[document.documentElement.lang];
    editor.before(sentence);
    said.set(editor, sentence);
  };
  for (const kind of ["change", "drop"]) {
    // On the window, to be before what keeps early files.
    window.addEventListener(
      kind,
      (event) => {
        const canvas = event.target.closest && event.target.closest(".image-container");
        const files = kind === "drop" ? event.dataTransfer && event.dataTransfer.files : event.target.files;
        if (canvas && canvas.querySelector(".pixi-target") && files && files.length) judge(canvas.closest(".block"), files[0]);
      },
      true,
    );
  }

  const start = () => {
    const chosen = localStorage.getItem(DARK);
    if (chosen) dark(chosen === "yes");
    const language = (navigator.language || "en").split("-")[0];
    document.documentElement.lang = language === "zh" ? "zh" : "en";
    let waiting = false;
    const look = () => {
      waiting = false;
      barOptions(document);
      describe();
      nameSigns();
      giveEarly();
    };
    new MutationObserver(() => {
      if (!waiting) setTimeout(look, 30);
      waiting = true;
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
  };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);
})();
