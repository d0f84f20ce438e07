"use strict";
// The browser of episodes. Texts of games and models only ever become text nodes.
(() => {
  const PAGE = 50;
  const at = (id) => document.getElementById(id);
  const form = at("browse"), list = at("list"), more = at("more"), status = at("found");

  // A link to a run or a section opens what it lies in; the navigation marks the section that is looked at.
  const reveal = () => {
    const target = location.hash.length > 1 ? at(location.hash.slice(1)) : null;
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    if (target) target.scrollIntoView();
  };
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const here = () => {
    const parts = [...document.querySelectorAll(".part")];
    const now = parts.filter((part) => part.getBoundingClientRect().top < innerHeight / 3).pop();
    for (const [id, link] of links) link.classList.toggle("here", now !== undefined && id === now.id);
  };
  addEventListener("scroll", here, { passive: true });
  addEventListener("hashchange", reveal);
  new ResizeObserver(here).observe(document.body);  // the list of episodes comes and goes; also called at once
  reveal();

  const make = (tag, name, ...content) => {
    const made = document.createElement(tag);
    if (name) made.className = name;
    made.append(...content.filter((one) => one !== null && one !== undefined));
    return made;
  };
  const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  const short = (value) => String(Math.round(value * 1000) / 1000).replace("-", "−");
  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob(at(id).textContent), (one) => one.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return JSON.parse(await new Response(stream).text());
  };
  const opened = new Map();
  const part = (number) => {
    if (!opened.has(number)) opened.set(number, unpack(`part-${number}`));
    return opened.get(number);
  };

  const chip = (text, value, trained) => {
    const made = make("span", `chip ${!trained ? "idle" : value > 0 ? "more" : "less"}`, text);
    if (trained) made.style.background = tint(value);
    return made;
  };
  const tint = (value) => `rgba(var(--${value > 0 ? "more" : "less"}), ${(0.12 + 0.5 * Math.min(1, Math.abs(value) / 2)).toFixed(2)})`;

  const credit = ([blocks, values, tokens], texts) => {
    const made = make("div", "credit");
    const line = make("div");
    for (const [name, value, trained] of blocks) line.append(chip(trained || value ? `${name} ${signed(value)}` : `${name} –`, value, trained));
    made.append(line);
    if (tokens[0].length) {
      const strip = make("div", "tokens");
      tokens[0].forEach((text, number) => {
        const one = make("span", tokens[2][number] ? "" : "idle", text === null ? "" : texts[text]);
        if (tokens[2][number]) one.style.background = tint(tokens[1][number]);
        one.title = tokens[2][number] ? `advantage ${signed(tokens[1][number])}` : "no gradient";
        strip.append(one);
      });
      made.append(strip);
    }
    const heads = values.map(([head, value, target]) => `${head} ${signed(value)}` + (target === null ? "" : ` → ${signed(target)}`));
    if (heads.length) made.append(make("div", "quiet", heads.join(" · ")));
    return made;
  };

  const turn = (row, number, texts, segment) => {
    const [seen, decision, subgoal, action, answer, problems, reward, ...told] = row;
    const text = (place) => (place === null ? "" : texts[place]);
    const did = make("div", segment % 2 ? "did odd" : "did");
    if (decision !== null) did.append(make("div", "", make("span", `badge ${decision ? "switch" : "keep"}`, decision ? "SWITCH" : "KEEP"), " ", text(subgoal)));
    did.append(make("code", "action", text(action) || "(no action)"), " ", make("span", reward > 0 ? "gain" : "quiet", `reward ${short(reward)}`));
    if (problems !== null) did.append(make("div", "problem", `malformed: ${text(problems)}`));
    if (told.length) did.append(credit(told, texts));
    if (answer !== null) did.append(make("details", "", make("summary", "quiet", "its answer"), make("pre", "", text(answer))));
    return make("div", "turn", make("div", "number", String(number + 1)), make("div", "both", make("div", "seen", text(seen)), did));
  };

  const start = async () => {
    if (!("DecompressionStream" in window)) {
      status.textContent = "This browser is too old to open the episodes (DecompressionStream is missing); hiper inspect shows them in a terminal.";
      return;
    }
    const index = await unpack("index");
    const all = index.episodes;
    const count = all.run ? all.run.length : 0;
    if (!count) {
      status.textContent = "No episode was recorded.";
      return;
    }
    const run = (one) => index.runs[all.run[one]];
    const algorithm = (one) => index.studies[run(one)[3]].algorithms[run(one)[1]];
    const won = (one) => all.outcome[one] === 0;
    const full = (one) => `${run(one)[0]}/${all.number[one]}`;

    // Controls: name → select. Their values are in the address, so that a view can be linked to.
    const selects = {};
    const choose = (name, title, options) => {
      const select = make("select");
      select.name = name;
      for (const [value, text] of options) select.append(new Option(text, value));
      const label = make("label", "", title, select);
      label.hidden = options.length < 2;
      form.append(label);
      selects[name] = select;
    };
    const offer = (name, options) => {
      const before = selects[name].value;
      selects[name].replaceChildren(...options.map(([value, text]) => new Option(text, value)));
      if (options.some(([value]) => value === before)) selects[name].value = before;
      selects[name].parentElement.hidden = options.length < 2;
    };
    const any = ["", "all"];
    const ENDINGS = [any, ["won", "won"], ["lost", "not won"], ...index.outcomes.slice(2).map((text) => [text, text]), ["here", "won here, lost there"], ["there", "lost here, won there"]];
    choose("study", "Benchmark, model", index.studies.map((one, number) => [String(number), one.title]));
    choose("place", "Played", [any]);
    choose("algorithm", "Algorithm", [any]);
    choose("seed", "Seed", [any]);
    choose("type", "Task type", [any]);
    choose("outcome", "Outcome", ENDINGS);
    choose("other", "There", [any]);
    const search = make("input");
    search.type = "search";
    search.name = "words";
    search.placeholder = "words of the task";
    form.append(make("label", "", "Task", search));
    form.hidden = false;

    const distinct = (value) => [...new Set([...Array(count).keys()].filter((one) => String(run(one)[3]) === selects.study.value).map(value))];
    const refresh = () => {
      const study = index.studies[Number(selects.study.value)];
      const algorithms = study.algorithms.map(([name, label]) => [name, label]);
      offer("place", distinct((one) => index.places[all.place[one]]).map((one) => [one, one]));
      offer("algorithm", [any, ...algorithms]);
      offer("other", [any, ...algorithms]);
      offer("seed", [any, ...distinct((one) => run(one)[2]).sort((a, b) => a - b).map((one) => [String(one), String(one)])]);
      offer("type", [any, ...distinct((one) => index.types[all.type[one]][0]).map((one) => [one, one])]);
      const paired = ["here", "there"].includes(selects.outcome.value);
      selects.other.parentElement.hidden = !paired;
      selects.algorithm.parentElement.firstChild.textContent = paired ? "Here" : "Algorithm";
    };

    const passes = (one) => {
      const value = (name) => selects[name].value;
      const ending = value("outcome");
      const words = search.value.trim().toLowerCase();
      return String(run(one)[3]) === value("study")
        && index.places[all.place[one]] === value("place")
        && (!value("seed") || String(run(one)[2]) === value("seed"))
        && (!value("type") || index.types[all.type[one]][0] === value("type"))
        && (!ending || ["here", "there"].includes(ending) || (ending === "won" ? won(one) : ending === "lost" ? !won(one) : index.outcomes[all.outcome[one]] === ending))
        && (!words || index.tasks[all.task[one]].some((text) => text.toLowerCase().includes(words)));
    };
    // Each found entry is a list of one episode or, where two algorithms meet, of two.
    const find = () => {
      const some = [...Array(count).keys()].filter(passes);
      const mine = selects.algorithm.value, theirs = selects.other.value, ending = selects.outcome.value;
      const task = (one) => index.tasks[all.task[one]][0];
      const order = (a, b) => all.type[a] - all.type[b] || (task(a) < task(b) ? -1 : task(a) > task(b) ? 1 : 0) || run(a)[2] - run(b)[2] || run(a)[1] - run(b)[1] || a - b;
      if (!["here", "there"].includes(ending)) return some.filter((one) => !mine || algorithm(one)[0] === mine).sort(order).map((one) => [one]);
      const meetings = new Map(), seen = new Map();
      for (const one of some) {
        const draw = JSON.stringify([all.run[one], task(one)]);
        seen.set(draw, (seen.get(draw) || 0) + 1);
        const key = JSON.stringify([run(one)[2], task(one), seen.get(draw)]);
        if (!meetings.has(key)) meetings.set(key, []);
        meetings.get(key).push(one);
      }
      const pairs = [];
      for (const met of meetings.values()) {
        for (const one of met) {
          for (const other of met) {
            if (one !== other && won(one) === (ending === "here") && won(other) !== won(one) && (!mine || algorithm(one)[0] === mine) && (!theirs || algorithm(other)[0] === theirs)) pairs.push([one, other]);
          }
        }
      }
      return pairs.sort((a, b) => order(a[0], b[0]) || order(a[1], b[1]));
    };

    const dot = (one) => {
      const made = make("i", "dot");
      made.style.background = algorithm(one)[2];
      return made;
    };
    const badge = (one) => make("span", `badge ${won(one) ? "won" : "lost"}`, index.outcomes[all.outcome[one]]);
    const length = (one) => [
      all.turns[one] === null ? null : `${all.turns[one]} turn${all.turns[one] === 1 ? "" : "s"}`,
      all.return[one] === null ? null : `return ${short(all.return[one])}`,
      all.score[one] === null ? null : `score ${short(all.score[one])}`,
      all.iteration[one] === null ? null : `iteration ${all.iteration[one]}`,
    ].filter((text) => text !== null).join(", ");
    const named = (one) => {
      const [task, instruction] = index.tasks[all.task[one]];
      return instruction || task;
    };

    const side = async (one) => {
      const made = make("div", "side");
      const folder = `${index.studies[run(one)[3]].folder}/${run(one)[0]}`;
      const address = make("a", "", "link");
      address.href = `#episodes?open=${encodeURIComponent(full(one))}`;
      const origin = make("a", "", run(one)[0]);
      origin.href = `#run-${run(one)[0]}`;
      made.append(
        make("p", "", badge(one), " ", dot(one), make("b", "", algorithm(one)[1]), `, seed ${run(one)[2]}, ${length(one)} `, address),
        make("p", "quiet", `${index.tasks[all.task[one]][0]} (${index.types[all.type[one]][0]}), run `, origin),
      );
      if (document.getElementById("part-0") !== null) made.append(make("p", "quiet", make("code", "", `hiper inspect ${folder} ${all.number[one]}`)));
      if (all.part[one] === null) {
        const packed = document.getElementById("part-0") === null;
        made.append(make("p", "", packed ? "Its turns are not in this unpacked evidence." : "Its turns were not recorded in full, or this page has no room for them."));
        return made;
      }
      const { texts, episodes } = await part(all.part[one]);
      const [turns, last, failure, used] = episodes[all.at[one]];
      if (used === 0) made.append(make("p", "", "It entered no update."));
      if (used === 1) made.append(make("p", "", "The critic alone learned from it: nobody used the advantages."));
      let segment = 0;
      turns.forEach((row, number) => {
        if (row[1] === 1 || number === 0) segment += 1;
        made.append(turn(row, number, texts, segment));
      });
      if (last !== null) made.append(make("div", "turn", make("div", "number", "end"), make("div", "both", make("div", "seen", texts[last]))));
      if (failure !== null) made.append(make("p", "problem", texts[failure]));
      return made;
    };

    const entry = (ones) => {
      const summary = make("summary");
      for (const one of ones) summary.append(badge(one), " ", dot(one), make("b", "", algorithm(one)[1]), make("span", "quiet", ` seed ${run(one)[2]}, ${length(one)} `));
      summary.append(" ", named(ones[0]));
      const made = make("details", "episode", summary);
      made.addEventListener("toggle", async () => {
        if (!made.open || made.children.length > 1) return;
        const sides = make("div", "sides");
        made.append(sides);
        sides.append(...(await Promise.all(ones.map(side))));
      });
      return made;
    };

    let found = [], shown = 0;
    const show = (amount) => {
      list.append(...found.slice(shown, shown + amount).map(entry));
      shown = Math.min(found.length, shown + amount);
      more.hidden = shown === found.length;
      more.textContent = `Show ${Math.min(PAGE, found.length - shown)} more of ${found.length - shown}`;
    };
    const apply = (open) => {
      refresh();
      found = find();
      shown = 0;
      list.replaceChildren();
      const paired = ["here", "there"].includes(selects.outcome.value);
      const wins = found.filter(([one]) => won(one)).length;
      status.textContent = paired ? `${found.length} pairs of episodes` : `${found.length} episode${found.length === 1 ? "" : "s"}, ${wins} won`;
      const place = open ? found.findIndex(([one]) => full(one) === open) : -1;
      show(Math.max(PAGE, place + 1));
      if (place >= 0) {
        list.children[place].open = true;
        list.children[place].scrollIntoView();
      }
    };
    const remember = () => {
      const chosen = new URLSearchParams();
      for (const [name, select] of Object.entries(selects)) if (select.value && !select.parentElement.hidden) chosen.set(name, select.value);
      if (search.value) chosen.set("words", search.value);
      history.replaceState(null, "", `#episodes?${chosen}`);
    };
    const follow = () => {
      if (!location.hash.startsWith("#episodes?")) return;
      const wanted = new URLSearchParams(location.hash.slice("#episodes?".length));
      const open = wanted.get("open");
      const one = open ? [...Array(count).keys()].find((each) => full(each) === open) : undefined;
      if (one !== undefined) {
        wanted.set("study", String(run(one)[3]));
        wanted.set("place", index.places[all.place[one]]);
      }
      for (const name of ["study", ...Object.keys(selects)]) {
        if (name !== "study") refresh();
        const value = wanted.get(name) || "";
        const select = selects[name];
        if ([...select.options].some((option) => option.value === value)) select.value = value;
        else if (!value || name !== "place") select.selectedIndex = 0;
      }
      search.value = wanted.get("words") || "";
      apply(open);
      if (one === undefined) at("episodes").scrollIntoView();
    };
    form.addEventListener("input", () => {
      apply();
      remember();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    more.addEventListener("click", () => show(PAGE));
    addEventListener("hashchange", follow);
    apply();
    follow();
  };
  start().catch((error) => {
    status.textContent = `The episodes cannot be opened: ${error}`;
  });
})();
