// Browsers start no worker from file://, so there the search works in a hidden frame. The plugin `offline` would load
// the like from elsewhere, unless a script of this name is given.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      frame.srcdoc = `<script src="${url}"></script>`
      this.started = new Promise(resolve => frame.onload = () => resolve(frame.contentWindow))
      this.started.then(inner => inner.postMessage = data => tell(this, data))
      document.body.append(frame)
    }

    postMessage(data) {
      this.started.then(inner => tell(inner, data))
    }
  }

  const tell = (target, data) => target.dispatchEvent(new MessageEvent("message", { data }))
}
