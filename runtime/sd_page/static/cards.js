// Cards: a click writes into the prompt at the cursor, the search field leaves what matches. Loaded once, in the
// page's head; lists come and go, hence one listener for all of them.
(() => {
  "use strict";
  const field = (id) => document.querySelector(`#${CSS.escape(id)} textarea, textarea#${CSS.escape(id)}`);

  // Of each list's prompts the one that the cursor was in last; before that the first.
  let last = null;
  document.addEventListener("focusin", (event) => {
    if (event.target.matches && event.target.matches("textarea")) last = event.target;
  });

  const target = (cards) => {
    const fields = cards.dataset.into.split(" ").map(field).filter(Boolean);
    return fields.includes(last) ? last : fields[0];
  };

  const insert = (into, text) => {
    // Who has not been there yet means the end.
    const untouched = into !== last;
    const start = untouched ? into.value.length : into.selectionStart;
    const end = untouched ? into.value.length : into.selectionEnd;
    const before = into.value.slice(0, start);
    const after = into.value.slice(end);
    const spaced =
      (before === "" || /[\s(\[{]$/.test(before) ? "" : " ") +
      text +
      (after === "" || /^[\s,.:)\]}]/.test(after) ? "" : " ");
    into.setRangeText(spaced, start, end, "end");
    last = into;
    into.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const say = (cards, text) => {
    const said = cards.querySelector(".sd-cards-said");
    if (said) said.textContent = text;
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest(".sd-card-insert, .sd-card-word");
    const cards = button && button.closest(".sd-cards");
    if (!cards) return;
    if (button.getAttribute("aria-disabled") === "true") {
      const reason = button.querySelector(".sd-card-reason");
      say(cards, reason ? reason.textContent : "");
      return;
    }
    const into = target(cards);
    const text = button.dataset.insert;
    if (!into || !text) return;
    insert(into, text);
    say(cards, cards.dataset.inserted.replace("{text}", () => text));
  });

  document.addEventListener("input", (event) => {
    if (!event.target.matches || !event.target.matches(".sd-cards-search")) return;
    const cards = event.target.closest(".sd-cards");
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const card of cards.querySelectorAll(".sd-card")) {
      card.hidden = !words.every((word) => card.dataset.searched.includes(word));
      if (!card.hidden) shown += 1;
    }
    cards.querySelector(".sd-cards-none").hidden = shown > 0;
  });
})();
