// The page of one model: what suits its inputs, asked of the server that sent it. Nothing that comes from outside is
// ever read as HTML: elements are made by `make`, whose texts are texts.
"use strict"

const $ = id => document.getElementById(id)
const READ = ["image/png", "image/jpeg", "image/bmp", "image/gif"]
let model, asked = 0

function make(tag, properties = {}, ...children) {
  const found = Object.assign(document.createElement(tag), properties)
  found.append(...children)
  return found
}

const soon = (wait, work) => {
  let timer
  return () => { clearTimeout(timer); timer = setTimeout(work, wait) }
}

// ---------------------------------------------------------------- asking

async function ask(body, type) {
  const number = ++asked, begun = performance.now(), answer = $("answer")
  answer.setAttribute("aria-busy", "true")
  let shown
  try {
    const response = await fetch("predict", {method: "POST", headers: {"Content-Type": type}, body})
    const found = await response.json()
    shown = response.ok ? told(found, performance.now() - begun) : refused(found.problems)
  } catch (error) {
    shown = refused([{message: "the server does not answer", help: String(error.message || error)}])
  }
  if (number !== asked) return  // a later question is on its way
  answer.replaceChildren(...shown)
  answer.removeAttribute("aria-busy")
}

const askRows = rows => ask(JSON.stringify({inputs: rows}), "application/json")

function silent(words) {
  asked++
  $("answer").replaceChildren(make("p", {className: "muted"}, words))
  $("answer").removeAttribute("aria-busy")
}

// ---------------------------------------------------------------- answers

function refused(problems) {
  return problems.map(({message, label, help}) => make("div", {className: "problem"},
    make("p", {}, make("strong", {}, message)), make("p", {}, [label, help].filter(Boolean).join("; "))))
}

function told(found, milliseconds) {
  const most = 20, several = found.predictions.length > 1
  const parts = found.predictions.slice(0, most).flatMap((row, number) => [
    ...(several ? [make("h3", {}, row.file || `Row ${number + 1}`)] : []),
    ...model.outputs.flatMap(output => outcome(row, output)),
  ])
  if (found.predictions.length > most) parts.push(make("p", {className: "muted"}, `… and ${found.predictions.length - most} more rows`))
  if (found.notes) parts.push(make("ul", {className: "notes"}, ...found.notes.map(note => make("li", {}, note))))
  parts.push(make("p", {className: "muted"}, `Answered in ${Math.round(milliseconds)} ms.`))
  return parts
}

function outcome(row, output) {
  const several = model.outputs.length > 1, prefix = several ? `${output.name}_` : ""
  const title = several ? [make("h3", {}, output.name)] : []
  if (output.kind === "values") return [...title, values(row, output)]
  const chances = output.classes.map(name => [name, Number(row[`${prefix}probability_${name}`])]).sort((a, b) => b[1] - a[1])
  const chosen = output.kind === "labels" ? row[`${prefix}labels`] : [row[`${prefix}class`]]
  const best = make("p", {className: "best"}, chosen.join(", ") || "no label")
  return [...title, best, bars(chances, chosen)]
}

function bars(chances, chosen) {
  const shown = chances.slice(0, 10).map(([name, chance]) => {
    const bar = make("i")
    bar.style.width = `${100 * Math.min(1, Math.max(0, chance || 0))}%`
    return make("li", {className: chosen.includes(name) ? "first" : ""}, bar, make("span", {}, name), make("span", {}, percent(chance)))
  })
  if (chances.length > 10) shown.push(make("li", {className: "muted"}, make("span", {}, `${chances.length - 10} more`)))
  return make("ol", {className: "bars"}, ...shown)
}

function percent(share) {
  if (Number.isNaN(share)) return "not a number"
  if (share < 0.0001) return "< 0.01 %"
  if (share > 0.9999) return "> 99.99 %"
  return `${(100 * share).toFixed(share < 0.0995 || share > 0.9995 ? 2 : 1)} %`
}

function values(row, output) {
  const size = output.shape.reduce((a, b) => a * b, 1)
  const read = key => typeof row[key] === "number" ? String(Number(row[key].toPrecision(5))) : String(row[key])
  if (size === 1) return make("p", {className: "best"}, read(output.name))
  const lines = Array.from({length: Math.min(size, 100)}, (_, k) => make("tr", {},
    make("td", {}, `${output.name} ${k}`), make("td", {}, read(`${output.name}_${k}`))))
  if (size > 100) lines.push(make("tr", {}, make("td", {colSpan: 2}, `… and ${size - 100} more numbers`)))
  return make("div", {className: "scroll", tabIndex: 0}, make("table", {}, make("tbody", {}, ...lines)))
}

// ---------------------------------------------------------------- drawing

function drawing(image, integer) {
  const {height: size} = image
  const side = 280, canvas = make("canvas", {width: side, height: side, className: "draw"})
  const seen = make("canvas", {width: size, height: size, className: "seen"})
  const centre = make("input", {type: "checkbox", checked: true})
  const context = canvas.getContext("2d", {willReadFrequently: true})
  canvas.setAttribute("aria-label", "Draw here")
  Object.assign(context, {lineWidth: side / 12, lineCap: "round", lineJoin: "round", strokeStyle: "#fff", fillStyle: "#000"})
  const clear = () => context.fillRect(0, 0, side, side)
  clear()
  const send = () => {
    const pixels = small(context.getImageData(0, 0, side, side).data, side, size, centre.checked)
    paint(seen, pixels, size)
    if (!pixels) return silent("Draw something first.")
    const numbers = Array.from(pixels, v => scaled(v, image, integer))
    askRows([Array.from({length: size}, (_, k) => numbers.slice(k * size, (k + 1) * size))])
  }
  const later = soon(200, send)
  let last = null
  const place = event => {
    const box = canvas.getBoundingClientRect()
    return [(event.clientX - box.left) * side / box.width, (event.clientY - box.top) * side / box.height]
  }
  const line = to => {
    context.beginPath()
    context.moveTo(...(last || to))
    context.lineTo(...to)
    context.stroke()
    last = to
  }
  canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); line(place(event)); event.preventDefault() })
  canvas.addEventListener("pointermove", event => { if (last) line(place(event)) })
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { if (last) later(); last = null })
  centre.addEventListener("change", send)
  paint(seen, null, size)
  return make("div", {},
    make("div", {className: "board"}, canvas, make("figure", {}, seen, make("figcaption", {}, `What the model sees: ${size} × ${size} pixels`))),
    make("div", {className: "actions"}, button("Clear", () => { clear(); paint(seen, null, size); silent("Draw something.") }),
      make("label", {className: "check"}, centre, "Scale and centre it"), ...brightness(image, send)))
}

const scaled = (share, {white}, integer) => integer ? Math.round(share * white) : Number((share * white).toPrecision(5))

// Nothing tells what numbers a net of floats was trained on, unless it rescales them itself.
function brightness(image, send) {
  if (!image.guessed) return []
  const choice = make("select", {}, new Option("1", "1"), new Option("255", "255"))
  choice.addEventListener("change", () => { image.white = Number(choice.value); send() })
  return [make("label", {className: "check"}, "White is", choice)]
}

// Ink from 0 to 1 in size × size pixels, as MNIST's digits were made: fitted into the middle five sevenths with its
// proportions kept, then its centre of mass put in the middle. Small fields are filled. null where nothing is drawn.
function small(data, side, size, centre) {
  const ink = Float32Array.from({length: side * side}, (_, k) => data[4 * k] / 255)
  let [left, top, right, bottom] = [side, side, -1, -1]
  ink.forEach((v, k) => {
    if (v < 0.1) return
    const x = k % side, y = (k - x) / side
    left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y)
  })
  if (right < 0) return null
  if (!centre) return means(ink, side, [0, 0, side, side], size, size)
  const [w, h] = [right - left + 1, bottom - top + 1], box = size < 16 ? size : Math.round(size * 5 / 7)
  const scale = box / Math.max(w, h), across = Math.max(1, Math.round(w * scale)), down = Math.max(1, Math.round(h * scale))
  const part = means(ink, side, [left, top, w, h], across, down)
  let [x, y] = [(size - across) / 2, (size - down) / 2]
  if (size >= 16) {
    let [mass, sumX, sumY] = [0, 0, 0]
    part.forEach((v, k) => { mass += v; sumX += v * (k % across + 0.5); sumY += v * (Math.floor(k / across) + 0.5) })
    x = size / 2 - sumX / mass; y = size / 2 - sumY / mass
  }
  x = Math.min(size - across, Math.max(0, Math.round(x))); y = Math.min(size - down, Math.max(0, Math.round(y)))
  const found = new Float32Array(size * size)
  part.forEach((v, k) => { found[(y + Math.floor(k / across)) * size + x + k % across] = v })
  return found
}

// A part of a square picture in other sizes: each pixel the mean of what it covers.
function means(ink, side, [left, top, w, h], across, down) {
  const shares = (from, extent, count) => Array.from({length: count}, (_, k) => {
    const [a, b] = [from + extent * k / count, from + extent * (k + 1) / count], found = []
    for (let p = Math.floor(a); p < Math.min(Math.ceil(b), side); p++) found.push([p, (Math.min(p + 1, b) - Math.max(p, a)) / (b - a)])
    return found
  })
  const columns = shares(left, w, across), rows = shares(top, h, down)
  return Float32Array.from({length: across * down}, (_, k) => {
    let sum = 0
    for (const [y, v] of rows[Math.floor(k / across)]) for (const [x, u] of columns[k % across]) sum += u * v * ink[y * side + x]
    return sum
  })
}

function paint(canvas, pixels, size) {
  const image = new ImageData(size, size)
  for (let k = 0; k < size * size; k++) image.data.set([...Array(3).fill(pixels ? 255 * pixels[k] : 0), 255], 4 * k)
  canvas.getContext("2d").putImageData(image, 0, 0)
}

// ---------------------------------------------------------------- image files

function picture(image, integer) {
  const input = make("input", {type: "file", accept: "image/*"}), shown = make("img", {hidden: true, alt: "The chosen image"})
  const invert = make("input", {type: "checkbox"})
  let chosen = null
  const send = async () => {
    if (!chosen) return
    try {
      if (image.files && !invert.checked && READ.includes(chosen.type)) return await ask(chosen, chosen.type)
      const bitmap = await createImageBitmap(chosen)
      const sizes = image.files ? [bitmap.width, bitmap.height] : [image.width, image.height]
      const canvas = onCanvas(bitmap, sizes, invert.checked)
      if (!image.files) return await askRows([numbers(canvas, image, integer)])
      await ask(await new Promise(done => canvas.toBlob(done, "image/png")), "image/png")
    } catch {
      $("answer").replaceChildren(...refused([{message: "this file is no image that the browser can read"}]))
    }
  }
  const take = file => {
    if (!file) return
    chosen = file
    URL.revokeObjectURL(shown.src)
    shown.src = URL.createObjectURL(file)
    shown.hidden = false
    send()
  }
  const zone = make("label", {className: "drop"}, "Drop an image here, or ", make("strong", {}, "choose a file"), input)
  input.addEventListener("change", () => take(input.files[0]))
  for (const name of ["dragover", "dragleave", "drop"]) zone.addEventListener(name, event => {
    event.preventDefault()
    zone.classList.toggle("over", name === "dragover")
    if (name === "drop") take(event.dataTransfer.files[0])
  })
  invert.addEventListener("change", send)
  const choice = make("label", {className: "check"}, invert, "It is dark on light: invert it")
  return make("div", {}, zone, make("div", {className: "picture"}, shown),
    make("div", {className: "actions"}, ...(image.channels === 1 ? [choice] : []), ...brightness(image, send)))
}

function onCanvas(bitmap, [width, height], invert) {
  const canvas = make("canvas", {width, height}), context = canvas.getContext("2d", {willReadFrequently: true})
  Object.assign(context, {imageSmoothingQuality: "high"}).drawImage(bitmap, 0, 0, width, height)
  if (invert) {
    const image = context.getImageData(0, 0, width, height)
    image.data.forEach((v, k) => { if (k % 4 < 3) image.data[k] = 255 - v })
    context.putImageData(image, 0, 0)
  }
  return canvas
}

function numbers(canvas, image, integer) {
  const {width, height, channels} = image
  const {data} = canvas.getContext("2d").getImageData(0, 0, width, height)
  return Array.from({length: height}, (_, y) => Array.from({length: width}, (_, x) => {
    const [r, g, b, a] = data.slice(4 * (y * width + x))
    return (channels === 1 ? [0.299 * r + 0.587 * g + 0.114 * b] : [r, g, b, a].slice(0, channels)).map(v => scaled(v / 255, image, integer))
  }))
}

// ---------------------------------------------------------------- texts, features, JSON

function button(words, work, main = false) {
  const found = make("button", {type: "button", className: main ? "main" : ""}, words)
  found.addEventListener("click", work)
  return found
}

function writing() {
  const area = make("textarea", {rows: 6, placeholder: "Type a text"})
  const send = () => area.value.trim() ? askRows([area.value]) : silent("Type a text first.")
  area.setAttribute("aria-label", "Text")
  area.addEventListener("keydown", event => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) send() })
  return make("div", {}, area, make("div", {className: "actions"}, button("Predict", send, true)))
}

function features() {
  const fields = model.features.map(feature => [feature, control(feature)])
  const form = make("form", {noValidate: true}, make("div", {className: "fields"}, ...fields.map(([feature, input]) =>
    make("label", {className: feature.kind === "text" ? "field wide" : "field"}, make("span", {}, feature.name), input))))
  const send = () => askRows([Object.fromEntries(fields.map(([feature, input]) => [feature.name, value(feature, input)]))])
  form.append(make("div", {className: "actions"}, make("button", {className: "main"}, "Predict"),
    make("button", {type: "reset"}, "Reset")))
  form.addEventListener("submit", event => { event.preventDefault(); send() })
  form.addEventListener("change", send)
  form.addEventListener("reset", () => silent("Nothing was asked yet."))
  return form
}

function control({name, kind, categories, typical, needed, format, time}) {
  const optional = needed ? "" : "missing"
  if (kind === "category") {
    const gap = needed ? [] : [new Option("missing", "\0")]
    return make("select", {name}, ...categories.map((c, k) => new Option(c, c, k === 0, k === 0)), ...gap)
  }
  if (kind === "text") return make("textarea", {name, rows: 3, defaultValue: typical, placeholder: optional})
  const types = {numeric: "number", integer: "number", date: format ? "text" : time ? "datetime-local" : "date"}
  const input = make("input", {name, type: types[kind] || "text", placeholder: optional, autocomplete: "off"})
  if (kind === "numeric") input.step = "any"
  input.defaultValue = String(typical)
  return input
}

function value({kind}, input) {
  if (kind === "string") return input.value
  if (input.value === "" || input.value === "\0") return input.validity.badInput ? "no number" : null
  return kind === "numeric" || kind === "integer" ? Number(input.value) : input.value
}

function json() {
  const text = model.example === null ? "" : JSON.stringify({inputs: [model.example]}, null, model.kind === "table" ? 2 : 0)
  const area = make("textarea", {rows: 10, className: "code", spellcheck: false, value: text, placeholder: '{"inputs": [row, row]}'})
  area.setAttribute("aria-label", "Rows as JSON")
  return make("div", {}, area, make("div", {className: "actions"}, button("Predict", () => ask(area.value, "application/json"), true)))
}

// ---------------------------------------------------------------- the page

function panels() {
  const found = [], image = model.image, integer = Object.values(model.inputs)[0].dtype !== "float32"
  if (image && image.drawn) found.push(["Draw", drawing(image, integer)])
  if (image) found.push(["Image file", picture(image, integer)])
  if (model.kind === "text") found.push(["Text", writing()])
  if (model.kind === "table") found.push(["Features", features()])
  return [...found, ["JSON", json()]]
}

function tabs(found) {
  const choose = chosen => found.forEach(([, panel], number) => {
    panel.hidden = number !== chosen
    heads[number].setAttribute("aria-selected", String(number === chosen))
    heads[number].tabIndex = number === chosen ? 0 : -1
  })
  const heads = found.map(([title, panel], number) => {
    panel.id = `panel-${number}`
    panel.setAttribute("role", "tabpanel")
    const head = button(title, () => choose(number))
    head.setAttribute("role", "tab")
    head.setAttribute("aria-controls", panel.id)
    head.addEventListener("keydown", event => {
      const step = {ArrowRight: 1, ArrowLeft: -1}[event.key]
      if (!step) return
      const next = (number + step + found.length) % found.length
      choose(next)
      heads[next].focus()
    })
    return head
  })
  $("tabs").replaceChildren(...heads)
  $("panels").replaceChildren(...found.map(([, panel]) => panel))
  choose(0)
}

function command() {
  const place = new URL("predict", location.href).href, quoted = text => `'${text.replaceAll("'", "'\\''")}'`
  if (model.media_types.includes("image/png")) return `curl --data-binary @picture.png -H 'Content-Type: image/png' ${place}`
  const row = model.example === null ? "…" : JSON.stringify(model.example)
  return `curl -H 'Content-Type: application/json' -d ${quoted(`{"inputs": [${row.length > 2000 ? "…" : row}]}`)} ${place}`
}

async function begin() {
  model = await (await fetch("model.json")).json()
  document.title = `${model.name}: predictions`
  $("name").textContent = model.name
  const outputs = model.outputs.map(o => o.kind === "values" ? o.name : `${o.classes.length} ${o.kind === "labels" ? "labels" : "classes"}`)
  $("about").textContent = `${model.description ? `${model.description} ` : ""}Run ${model.run}: ${model.parameters.toLocaleString("en")} parameters, predicts ${outputs.join(" and ")}.`
  $("command").textContent = command()
  tabs(panels())
  silent(model.image && model.image.drawn ? "Draw something: the prediction follows." : "Nothing was asked yet.")
}

begin().catch(error => $("answer").replaceChildren(...refused([{message: "the server does not answer", help: String(error.message)}])))
