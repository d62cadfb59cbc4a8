// The front page of the admin brings itself up to date: every five seconds while somebody can see it.
// Without this script the page reloads itself (the <noscript> of front_page.html).
(() => {
    "use strict";
    const EVERY = 5000;
    const PATIENCE = 20000;
    const page = document.getElementById("front-page");
    if (!page || !document.getElementById("live")) {
        return;
    }
    const hold = document.getElementById("hold");
    const updated = document.getElementById("updated");
    const trouble = document.getElementById("trouble");
    let held = false;
    let asking = false;
    let timer = 0;

    function say(text) {
        if (trouble.textContent !== text) {
            trouble.textContent = text;
        }
        trouble.hidden = !text;
        updated.classList.toggle("jp-stale", Boolean(text));
    }

    // What the reader has done to the old content is done to the new: what is open, scrolled and focused.
    function swap(fresh) {
        const old = document.getElementById("live");
        const focused = old.contains(document.activeElement) ? document.activeElement : null;
        const key = focused && (focused.id || focused.getAttribute("href"));
        const summaryOf = focused && focused.tagName === "SUMMARY" ? focused.parentElement.id : "";
        const open = new Set([...old.querySelectorAll("details[open][id]")].map((item) => item.id));
        const scrolled = [...old.querySelectorAll(".jp-scroll[id]")].map((item) => [item.id, item.scrollLeft, item.scrollTop]);
        const [x, y] = [window.scrollX, window.scrollY];
        old.replaceWith(fresh);
        fresh.querySelectorAll("details[id]").forEach((item) => { item.open = open.has(item.id); });
        for (const [id, left, top] of scrolled) {
            const item = document.getElementById(id);
            if (item) {
                item.scrollTo(left, top);
            }
        }
        let target = null;
        if (summaryOf) {
            target = document.getElementById(summaryOf)?.querySelector("summary");
        } else if (key) {
            target = [...fresh.querySelectorAll("a[href], [tabindex]")].find((item) => item.id === key || item.getAttribute("href") === key);
        }
        target?.focus({ preventScroll: true });
        window.scrollTo({ left: x, top: y, behavior: "instant" });
    }

    async function update() {
        if (asking || held || document.hidden) {
            return;
        }
        asking = true;
        try {
            const answer = await fetch(window.location.href, {
                headers: { Part: "live" },
                credentials: "same-origin",
                signal: AbortSignal.timeout(PATIENCE),
            });
            const text = await answer.text();
            const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("live");
            if (answer.redirected || (answer.ok && !fresh)) {
                say("You are signed out, or may not look at jobs any more. Reload the page.");
                held = true;
            } else if (!answer.ok) {
                say(`Not brought up to date: the server answered ${answer.status}. Trying again.`);
            } else if (!held) {
                swap(document.adoptNode(fresh));
                updated.querySelector("time").textContent = fresh.dataset.updated;
                say("");
            }
        } catch {
            say("Not brought up to date: the server cannot be reached. Trying again.");
        } finally {
            asking = false;
        }
    }

    function run() {
        window.clearInterval(timer);
        timer = window.setInterval(update, EVERY);
    }

    hold.hidden = false;
    hold.addEventListener("click", () => {
        held = !held;
        hold.setAttribute("aria-pressed", String(held));
        hold.textContent = held ? "Go on" : "Pause";
        if (!held) {
            update();
        }
    });
    document.addEventListener("visibilitychange", () => {
        if (document.hidden) {
            window.clearInterval(timer);
        } else {
            update();
            run();
        }
    });
    document.getElementById("project").addEventListener("change", (event) => event.target.form.submit());
    // What a bin holds, in words below its chart: a finger has no hover.
    for (const name of ["pointerover", "pointerdown"]) {
        page.addEventListener(name, (event) => {
            const spot = event.target.closest?.(".jp-spot");
            const readout = spot?.closest(".jp-chart").querySelector("[data-readout]");
            if (readout) {
                readout.textContent = spot.textContent;
            }
        });
    }
    run();
})();
