"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { runs, fields, same, curves, pictures } = data;
  const MOST_DRAWN = 40, FIRST_DRAWN = 8, MOST_COMPARED = 12, MOST_OPTIONS = 5;
  const USUAL = ["id", "status", "start_time", "duration_s", "config.backend", "config.data.name", "config.teaching",
    "config.seed", "result.steps", "result.test.student.accuracy", "result.test.student.agreement@1", "result.test.student.kl",
    "result.test.teacher.accuracy"];
  const SHORT = [["result.test.", "test "], ["result.", ""], ["config.", ""], ["environment.", ""]];
  const COMPARED = /^(config\.|environment\.(?!.*fingerprint)|result\.(steps|(test|validation)\.(student|teacher)\.(accuracy|agreement@1|kl|loss))$)/;
  const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

  // Elements, from text alone: nothing of a run's is ever read as HTML.
  const byId = (id) => document.getElementById(id);
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  };

  // Values of runs.
  const place = new Map(fields.map((name, number) => [name, number]));
  const value = (run, name) => (name === "label" ? run.label : place.has(name) ? run.values[place.get(name)] : same[name] ?? null);
  const every = ["label", ...fields, ...Object.keys(same)];
  const title = (name) => {
    if (name === "duration_s") return "duration";
    const found = SHORT.find(([prefix]) => name.startsWith(prefix));
    return found ? found[1] + name.slice(found[0].length) : name.replaceAll("_", " ");
  };
  const isShare = (name) => /(accuracy|agreement@\d+)$/.test(name);
  const number = (x) => (Number.isInteger(x) ? String(x) : String(Number(x.toPrecision(5))));
  const percent = (x) => `${(100 * x).toFixed(1)}\u00a0%`;
  const text = (x, name = "") => {
    if (x === null || x === undefined) return "";
    if (typeof x === "number") return isShare(name) ? percent(x) : name === "duration_s" ? duration(x) : number(x);
    return Array.isArray(x) ? `[${x.join(", ")}]` : String(x);
  };
  const brief = (words) => (/^[0-9a-f]{24,}$/.test(words) ? `${words.slice(0, 12)}…` : words);
  const duration = (seconds) => {
    if (seconds < 60) return `${seconds.toFixed(1)} s`;
    const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const first = parts.findIndex(([size]) => seconds >= size);
    const [size, unit] = parts[first], next = parts[first + 1];
    const rest = next ? Math.floor((seconds % size) / next[0]) : 0;
    return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${next[1]}` : ""}`;
  };
  // Wilson's 95 % interval.
  const interval = (share, count) => {
    const z = 1.96, centre = (share + (z * z) / (2 * count)) / (1 + (z * z) / count);
    const half = (z * Math.sqrt((share * (1 - share)) / count + (z * z) / (4 * count * count))) / (1 + (z * z) / count);
    return `${(100 * Math.max(0, centre - half)).toFixed(1)}–${(100 * Math.min(1, centre + half)).toFixed(1)} %`;
  };

  // The usual columns, less those that say the same of every run; with the options that differ.
  const usual = () => {
    const having = USUAL.filter((name) => every.includes(name) && (runs.length === 1 || !(name in same)));
    const several = (name) => new Set(runs.map((run) => JSON.stringify(value(run, name))).filter((x) => x !== "null")).size > 1;
    const differing = runs.length === 1 ? [] : fields.filter((name) => name.startsWith("config.") && !/\.(device|threads)$/.test(name) && several(name));
    const options = [...having.filter((name) => name.startsWith("config.")), ...differing.filter((name) => !having.includes(name)).slice(0, MOST_OPTIONS)];
    const results = having.filter((name) => name.startsWith("result.")), when = ["start_time", "duration_s"];
    return [...having.filter((name) => !/^(config|result)\./.test(name) && !when.includes(name)), ...results, ...options, ...having.filter((name) => when.includes(name))];
  };

  // What is shown now.
  const state = {
    sort: null, down: false, shown: runs.map((_, at) => at), drawn: new Set(runs.slice(0, FIRST_DRAWN).map((_, at) => at)),
    columns: usual(), one: 0,
  };
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const order = () => [...state.drawn].sort((a, b) => a - b);
  const look = (rank) => ({ stroke: colour(`c${rank % 7}`), dash: DASHES[Math.floor(rank / 7) % DASHES.length] });

  // The table of runs.
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
  const sorted = (rows, key, down) => {
    const missing = (x) => x === null || x === undefined;
    return [...rows].sort((a, b) => {
      const one = key(a), other = key(b);
      if (missing(one) || missing(other)) return missing(one) - missing(other);
      return down ? compare(other, one) : compare(one, other);
    });
  };

  const resolved = (name) => {
    const ends = every.filter((full) => full === name || full.endsWith(`.${name}`));
    return every.includes(name) ? name : ends.find((full) => full.startsWith("config.")) ?? ends.find((full) => full.startsWith("result.test.student.")) ?? ends[0];
  };
  const CONDITION = /^([^=!<>~\s]+)(!=|>=|<=|=|>|<|~)(.*)$/;
  const condition = (word) => {
    const match = CONDITION.exec(word);
    if (!match) {
      const wanted = word.toLowerCase();
      return { test: (run) => words(run).includes(wanted) };
    }
    const [, name, sign, wanted] = match, full = resolved(name);
    if (!full) return { test: () => true, fault: `no run has a field “${name}”` };
    let pattern = null;
    if (sign === "~") {
      try { pattern = new RegExp(wanted); } catch { return { test: () => true, fault: `“${wanted}” is no regular expression` }; }
    }
    return { test: (run) => holds(value(run, full), sign, wanted, pattern) };
  };
  const holds = (found, sign, wanted, pattern) => {
    if (pattern) return pattern.test(text(found));
    if (sign === "!=") return !holds(found, "=", wanted);
    if (found === null || found === undefined) return sign === "=" && /^(null|none)$/i.test(wanted);
    const number = typeof found === "number" ? Number(wanted) : NaN;
    if (sign === "=") return Number.isNaN(number) ? text(found).toLowerCase() === wanted.toLowerCase() : found === number;
    const by = Number.isNaN(number) ? compare(text(found), wanted) : found - number;
    return sign === ">" ? by > 0 : sign === "<" ? by < 0 : sign === ">=" ? by >= 0 : by <= 0;
  };
  const known = new Map();
  const words = (run) => {
    if (!known.has(run)) known.set(run, every.map((name) => text(value(run, name))).join("\n").toLowerCase());
    return known.get(run);
  };

  const filter = () => {
    const asked = byId("filter").value.trim().split(/\s+/).filter(Boolean).map(condition);
    state.shown = runs.map((_, at) => at).filter((at) => asked.every((each) => each.test(runs[at])));
    const fault = asked.map((each) => each.fault).find(Boolean);
    byId("filter-told").textContent = fault ? `${fault}.` : asked.length ? `${state.shown.length} of ${runs.length} runs.` : "";
    table();
  };

  const table = () => {
    const head = make("tr", {}, make("th", { scope: "col" }, "drawn"));
    for (const name of state.columns) {
      const sort = state.sort === name ? (state.down ? "descending" : "ascending") : "none";
      const button = make("button", { type: "button", title: name, onclick: () => sortBy(name) }, title(name));
      head.append(make("th", { scope: "col", "aria-sort": sort, "data-field": name, class: isNumeric(name) ? "number" : null }, button));
    }
    byId("table").tHead.replaceChildren(head);
    const rows = state.sort ? sorted(state.shown, (at) => value(runs[at], state.sort), state.down) : state.shown;
    byId("table").tBodies[0].replaceChildren(...rows.map(tableRow));
  };
  const isNumeric = (name) => typeof (runs.map((run) => value(run, name)).find((x) => x !== null) ?? "") === "number";
  const tableRow = (at) => {
    const run = runs[at];
    const box = make("input", { type: "checkbox", "aria-label": `draw run ${run.id}`, onchange: (event) => draw(at, event.target.checked) });
    box.checked = state.drawn.has(at);
    const row = make("tr", { "data-run": run.id, class: at === state.one ? "here" : null }, make("td", {}, box));
    for (const name of state.columns) {
      const shown = text(value(run, name), name);
      const cell = name === "id" ? make("a", { href: "#one", onclick: () => show(at) }, shown) : shown;
      const kind = name === "status" ? `status ${value(run, name)}` : isNumeric(name) ? `number ${name}` : name;
      row.append(make(name === "id" ? "th" : "td", { class: kind, scope: name === "id" ? "row" : null }, cell));
    }
    return row;
  };
  const sortBy = (name) => {
    state.down = state.sort === name ? !state.down : isNumeric(name) && name !== "id" && !/(loss|kl|seconds|duration_s)$/.test(name);
    state.sort = name;
    table();
    byId("table").tHead.querySelector(`[data-field="${CSS.escape(name)}"] button`).focus();
  };
  const draw = (at, on) => {
    if (on) state.drawn.add(at); else state.drawn.delete(at);
    drawn();
  };
  const drawn = () => { chart(); differences(); };
  const columns = () => {
    const inner = byId("columns").querySelector("div");
    inner.replaceChildren(...every.map((name) => {
      const box = make("input", { type: "checkbox", onchange: (event) => {
        state.columns = event.target.checked ? [...state.columns, name] : state.columns.filter((each) => each !== name);
        table();
      } });
      box.checked = state.columns.includes(name);
      return make("label", {}, box, " ", name);
    }));
  };

  // The curves.
  let plot = null;
  const units = (metric) => (metric.unit === "%" ? 100 : 1);
  const curve = (at, metric) => curves.of[at].find((each) => each[0] === metric);
  const smoothed = (values) => {
    let mean = null;
    return values.map((x) => (x === null ? null : (mean = mean === null ? x : 0.9 * mean + 0.1 * x)));
  };
  const levels = (at, metric) => {
    const name = curves.metrics[metric].name;
    if (!name.includes(".student.")) return [];
    const teacher = curves.metrics.findIndex((each) => each.name === name.replace(".student.", ".teacher."));
    const found = teacher < 0 ? null : curve(at, teacher);
    return found ? [found[2].at(-1)].filter((x) => x !== null) : [];
  };
  const chart = () => {
    const box = byId("chart"), metric = Number(byId("metric").value), about = curves.metrics[metric];
    plot?.destroy();
    plot = null;
    byId("readout").textContent = "";
    const having = about ? order().filter((at) => curve(at, metric)) : [];
    const at = having.slice(0, MOST_DRAWN);
    if (!at.length) {
      const why = !about ? "These runs have no metrics." : state.drawn.size ? `No run that is drawn has ${about.title}.` : "No run is drawn: tick some in the table.";
      box.replaceChildren(make("p", { class: "empty" }, why));
      return;
    }
    box.replaceChildren();
    const logX = byId("log-x").checked, logY = byId("log-y").checked, factor = units(about);
    const clean = (values) => values.map((x) => (x === null || (logY && x <= 0) ? null : factor * x));
    const tables = at.map((run) => {
      const [, steps, values] = curve(run, metric);
      const shown = clean(byId("smooth").checked ? smoothed(values) : values);
      const kept = curves.steps[steps].map((step, n) => [step, shown[n]]).filter(([step]) => !logX || step > 0);
      return [kept.map(([step]) => step), kept.map(([, x]) => x)];
    });
    const teachers = [...new Set(at.flatMap((run) => levels(run, metric)))].filter((x) => !logY || x > 0).slice(0, 3);
    const joined = uPlot.join(tables);
    for (const level of teachers) joined.push(joined[0].map(() => factor * level));
    const shownValue = (u, x) => (x === null || x === undefined ? "–" : number(Number(x.toPrecision(4))) + (about.unit === "%" ? " %" : ""));
    const series = [{ label: "step", value: (u, x) => (x === null ? "–" : number(x)) }];
    at.forEach((run, rank) => series.push({
      label: runs.length > 1 ? `${runs[run].label} (${runs[run].id})` : runs[run].label, ...look(rank), width: 1.6, value: shownValue, spanGaps: true,
      points: { show: tables[rank][0].length <= 30, size: 5 },
    }));
    for (const _ of teachers) series.push({ label: "teacher", stroke: colour("faint"), dash: [6, 4], width: 1.4, value: shownValue, points: { show: false } });
    const axis = (label) => ({ label, stroke: colour("ink"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 }, font: "12px system-ui", labelFont: "13px system-ui" });
    const plain = (u, splits) => splits.map((x) => (x === null ? "" : Math.abs(x) >= 1e5 ? x.toExponential(0).replace("e+", "e") : String(Number(x.toPrecision(6)))));
    // On an axis of logarithms the library leaves out labels that would touch.
    const values = (log) => (log ? (u, splits, ...rest) => plain(u, splits.map((x) => (x !== null && /^[125]/.test(String(Number(x.toExponential(0).split("e")[0]))) ? x : null))) : plain);
    plot = new uPlot({
      width: box.clientWidth - 14, height: Math.max(260, Math.min(460, 0.5 * box.clientWidth)),
      scales: { x: { time: false, distr: logX ? 3 : 1 }, y: { distr: logY ? 3 : 1 } },
      axes: [
        { ...axis("updates of the student (steps)"), values: values(logX) },
        { ...axis(about.title + (about.unit ? ` (${about.unit})` : "")), size: 62, values: values(logY) },
      ],
      series,
      legend: { live: true },
      cursor: { dataIdx: nearest, focus: { prox: 30 }, points: { size: 7 } },
      focus: { alpha: 0.35 },
    }, joined, box);
    if (having.length > at.length) byId("readout").textContent = `The first ${at.length} of ${having.length} runs are drawn.`;
  };
  // Runs were measured at steps of their own: each shows the step of its own that is nearest.
  const nearest = (u, seriesIdx, hovered) => {
    const own = u.data[seriesIdx];
    if (seriesIdx === 0 || (own[hovered] !== null && own[hovered] !== undefined)) return hovered;
    let left = hovered, right = hovered;
    const missing = (n) => own[n] === null || own[n] === undefined;
    while (left >= 0 && missing(left)) left--;
    while (right < own.length && missing(right)) right++;
    if (left < 0 || right >= own.length) return left < 0 && right >= own.length ? hovered : left < 0 ? right : left;
    const x = u.data[0];
    return x[hovered] - x[left] <= x[right] - x[hovered] ? left : right;
  };
  const keys = (event) => {
    if (!plot) return;
    const x = plot.data[0], last = x.length - 1, now = plot.cursor.idx;
    const pace = Math.max(1, Math.round(x.length / 100));
    const to = { ArrowRight: now === null || now === undefined ? 0 : Math.min(last, now + pace), ArrowLeft: now === null || now === undefined ? last : Math.max(0, now - pace), Home: 0, End: last }[event.key];
    if (event.key === "Escape") plot.setData(plot.data);
    else if (to === undefined) return;
    else {
      plot.setCursor({ left: plot.valToPos(x[to], "x"), top: plot.bbox.height / devicePixelRatio / 2 });
      const told = plot.series.slice(1).map((each, n) => [each.label, plot.data[n + 1][nearest(plot, n + 1, to)]]).filter(([, y]) => y !== null && y !== undefined);
      byId("readout").textContent = `Step ${number(x[to])}: ${told.slice(0, 6).map(([label, y]) => `${label} ${number(Number(y.toPrecision(4)))}`).join("; ")}`;
    }
    event.preventDefault();
  };

  // What differs between the runs that are drawn.
  const differences = () => {
    const at = order().slice(0, MOST_COMPARED), box = byId("differing");
    const names = fields.filter((name) => COMPARED.test(name))
      .filter((name) => new Set(at.map((run) => JSON.stringify(value(runs[run], name)))).size > 1);
    if (at.length < 2 || !names.length) {
      box.replaceChildren(make("tbody", {}, make("tr", {}, make("td", {}, at.length < 2 ? "Draw two runs or more to compare them." : "Nothing differs."))));
      return;
    }
    const rank = (name) => ["config.", "environment.", "result."].findIndex((prefix) => name.startsWith(prefix));
    const head = make("tr", {}, make("th", { scope: "col" }, "field"), at.map((run, n) => make("th", { scope: "col" },
      make("span", { class: "swatch", style: `background:${look(n).stroke}` }), runs[run].id)));
    box.replaceChildren(make("thead", {}, head), make("tbody", {}, names.sort((a, b) => rank(a) - rank(b)).map((name) => make("tr", {},
      make("th", { scope: "row" }, name), at.map((run) => make("td", {}, brief(text(value(runs[run], name), name))))))));
  };

  // One run.
  const facts = (pairs) => make("dl", { class: "facts" }, pairs.filter(([, x]) => x !== "" && x !== null && x !== undefined).flatMap(([name, x]) => [make("dt", {}, name), make("dd", {}, x)]));
  const of = (run, ...prefixes) => every.filter((name) => prefixes.some((prefix) => name.startsWith(prefix)) && name !== "label").map((name) => [name, text(value(run, name), name)]);
  const show = (at) => {
    state.one = at;
    byId("which").value = at;
    for (const row of byId("table").tBodies[0].rows) row.classList.toggle("here", row.dataset.run === runs[at].id);
    const run = runs[at];
    byId("run").replaceChildren(...[
      make("div", { class: "columns" }, make("div", {}, ...summary(run)), make("div", {}, ...lineage(run), ...again(run))),
      ...(pictures.answers[at] ? [] : [make("p", { class: "faint" }, "No answers are stored with this run: one that ends well on test or validation data keeps its accuracy by class, and the images it differs on.")]),
      ...classes(pictures.answers[at]), ...disagreements(pictures.answers[at]), ...sheet(pictures.sheets[at]),
      make("h3", {}, "System and versions"),
      facts([...of(run, "environment.", "host."), ["experiment", text(value(run, "experiment.repositories"))]]),
      make("details", {}, make("summary", {}, "Whole configuration"), facts(of(run, "config."))),
      make("details", {}, make("summary", {}, "All results"), facts(of(run, "result."))),
    ]);
  };
  const summary = (run) => {
    const rows = ["test", "validation", "train"].flatMap((split) => ["student", "teacher"].map((who) => {
      const get = (name) => value(run, `result.${split}.${who}.${name}`), count = value(run, `result.${split}.examples`);
      const accuracy = get("accuracy");
      if (accuracy === null && get("kl") === null) return null;
      return make("tr", {}, make("th", { scope: "row" }, `${split}, ${who}`),
        make("td", { class: "number" }, accuracy === null ? "" : percent(accuracy)), make("td", { class: "number" }, accuracy === null || !count ? "" : interval(accuracy, count)),
        make("td", { class: "number" }, text(get("agreement@1"), "agreement@1")), make("td", { class: "number" }, text(get("kl"))));
    })).filter(Boolean);
    const head = ["", "accuracy", "95 % interval", "agreement", "KL"].map((name, n) => make("th", { scope: "col", class: n ? "number" : null }, name));
    return [
      make("h3", {}, `Run ${run.id}`), make("p", {}, run.label),
      facts(["uid", "status", "start_time", "duration_s", "host.hostname", "fingerprint", "meta.options.--comment"].map((name) => [title(name.replace("meta.options.--", "")), text(value(run, name), name)])),
      ...(rows.length ? [make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)))] : []),
      ...(run.trace ? [make("h3", {}, "How it failed"), make("pre", {}, run.trace)] : []),
    ];
  };
  const lineage = (run) => (!run.line ? [] : [make("h3", {}, "Lineage"), make("ol", {}, run.line.map((each) => {
    const at = runs.findIndex((other) => other.id === each.id);
    const name = at >= 0 && each.id !== run.id ? make("a", { href: "#one", onclick: () => show(at) }, `run ${each.id}`) : each.id === run.id ? make("b", {}, `run ${each.id}`) : `run ${each.id}`;
    const from = each.resumed_at === undefined ? "from the beginning" : `from step ${each.resumed_at}`;
    return make("li", {}, name, ` ${from}, ${each.status ?? ""}, ${each.start_time ?? ""}`);
  }))]);
  const again = (run) => {
    if (!run.again) return [];
    const copy = make("button", { type: "button", onclick: async () => {
      await navigator.clipboard.writeText(run.again);
      copy.textContent = "Copied";
    } }, "Copy");
    return [make("h3", {}, "The same again"), make("pre", { id: "again" }, run.again), ...(navigator.clipboard ? [copy] : [])];
  };
  const classNames = (found) => {
    const names = pictures.classes[found.classes];
    return (n) => (n < 0 ? "none" : names?.[n] ?? String(n));
  };
  const classes = (found) => {
    if (!found?.by_class.length) return [];
    const name = classNames(found), taught = found.by_class.some((row) => row[3] >= 0), labelled = found.by === "label";
    const rows = found.by_class.map(([n, count, student, teacher]) => ({ class: name(n), images: count, student: student / count, teacher: teacher < 0 ? null : teacher / count }));
    const names = ["class", "images", "student", ...(taught && labelled ? ["teacher"] : [])];
    const box = make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "accuracy by class" });
    let sort = "student", down = false;
    const bar = (share, who) => [make("span", { class: `bar ${who}`, style: `width:${(3.5 * share).toFixed(2)}em` }), ` ${percent(share)}`];
    const fill = () => box.replaceChildren(make("table", { id: "by-class" }, make("thead", {}, make("tr", {}, names.map((each) => make("th", {
      scope: "col", "aria-sort": sort === each ? (down ? "descending" : "ascending") : "none", class: each === "images" ? "number" : null },
    make("button", { type: "button", onclick: () => { down = sort === each ? !down : false; sort = each; fill(); box.querySelector("[aria-sort$=ending] button").focus(); } }, each))))),
    make("tbody", {}, sorted(rows, (row) => row[sort], down).map((row) => make("tr", {}, make("th", { scope: "row" }, row.class), make("td", { class: "number" }, row.images),
      ["student", "teacher"].filter((who) => names.includes(who)).map((who) => make("td", { class: "bars" }, bar(row[who], who))))))));
    fill();
    const what = labelled ? `Accuracy by class, ${found.split}` : `Agreement with the teacher by its class, ${found.split}`;
    return [make("h3", {}, what), box];
  };
  const disagreements = (found) => {
    if (!found?.images.length) return [];
    const name = classNames(found), taught = found.images.some((each) => each.kl !== undefined);
    const line = (who, each) => (each[who] === undefined ? null : make("div", {}, make("b", {}, who), ` ${name(each[who])} (${percent(each[`${who}_p`])})`));
    return [
      make("h3", {}, taught ? "Where student and teacher disagree most" : "The student’s surest errors"),
      make("p", { class: "faint" }, taught ? `Of ${found.examples} ${found.split} images, those with the largest KL from teacher to student.` : `Of ${found.examples} ${found.split} images.`),
      make("div", { class: "gallery", id: "disagreements" }, found.images.map((each) => make("figure", {},
        make("img", { src: each.image, loading: "lazy", class: each.image.startsWith("data:image/png") ? "tiny" : null, alt: `${found.split} image ${each.id}, label ${name(each.label)}` }),
        make("figcaption", {}, each.label < 0 ? null : make("div", {}, make("b", {}, "label"), ` ${name(each.label)}`), line("teacher", each), line("student", each),
          make("div", { class: "faint" }, `image ${each.id}${each.kl === undefined ? "" : `, KL ${number(Number(each.kl.toPrecision(3)))}`}`))))),
    ];
  };
  const sheet = (url) => (url ? [make("h3", {}, "What teacher and student saw"), make("img", { class: "sheet", src: url, alt: "contact sheet of the views of teacher and student" })] : []);

  // Begin.
  const datasets = [...new Set(runs.map((run) => value(run, "config.data.name")).filter(Boolean))];
  byId("title").textContent = runs.length > 1 ? `${runs.length} runs` : `Run ${runs[0].id}`;
  byId("summary").textContent = [datasets.slice(0, 6).join(", "), `written ${data.written.replace("T", " ").replace("+00:00", " UTC")}`].filter(Boolean).join(" · ");
  const alike = ["config.data.name", "config.backend", "config.teaching", "config.optimizer.lr", "config.seed"].filter((name) => same[name] !== undefined);
  byId("alike").textContent = alike.length ? `The same in all runs: ${alike.map((name) => `${title(name)}=${text(same[name])}`).join(", ")}, and ${Object.keys(same).filter((name) => name.startsWith("config.")).length - alike.filter((name) => name.startsWith("config.")).length} more options.` : "";
  byId("left-out").textContent = data.left_out.length ? `Left out to keep this page small: ${data.left_out.join("; ")}.` : "";
  byId("metric").append(...curves.metrics.map((each, n) => make("option", { value: n }, each.title)));
  byId("which").append(...runs.map((run, at) => make("option", { value: at }, `${run.id}: ${run.label}`)));
  byId("filter").addEventListener("input", filter);
  byId("draw-shown").addEventListener("click", () => { state.drawn = new Set(state.shown.slice(0, MOST_DRAWN)); table(); drawn(); });
  byId("draw-none").addEventListener("click", () => { state.drawn.clear(); table(); drawn(); });
  byId("which").addEventListener("change", (event) => show(Number(event.target.value)));
  for (const id of ["metric", "log-x", "log-y", "smooth"]) byId(id).addEventListener("change", chart);
  byId("chart").addEventListener("keydown", keys);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawn);
  let width = byId("chart").clientWidth;
  addEventListener("resize", () => {
    if (width === byId("chart").clientWidth) return;
    width = byId("chart").clientWidth;
    chart();
  });
  columns();
  table();
  drawn();
  show(0);
})();
