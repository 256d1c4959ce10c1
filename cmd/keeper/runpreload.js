'use strict';
// `keeper run` has each Node.js load this by NODE_OPTIONS. Node's fetch before 24, and
// the clients of Stripe and AWS on every version, know nothing of HTTPS_PROXY. All of
// them, and http2 and WebSocket too, dial TLS by tls.connect: so that is where a
// connection to another host first goes through the proxy. Whatever brings a socket of
// its own, as one that knows of the proxy does, is left alone, and so are TLS
// connections that do not speak HTTP.
(() => {
  const proxy = parse(process.env.HTTPS_PROXY || process.env.https_proxy);
  if (!proxy || proxy.protocol !== 'http:') return;
  const mark = Symbol.for('keeper.run.preload');
  if (globalThis[mark]) return;
  globalThis[mark] = true;

  const net = require('net');
  const tls = require('tls');
  const { Duplex } = require('stream');
  const direct = (process.env.NO_PROXY || process.env.no_proxy || '').split(',')
    .map((entry) => entry.trim().toLowerCase()).filter(Boolean);
  const dial = net.connect, dialTLS = tls.connect;

  function parse(text) {
    try { return new URL(text); } catch { return undefined; }
  }

  // byItself reports whether a host is reached without the proxy.
  function byItself(host, port) {
    host = host.toLowerCase().replace(/^\[|\]$/g, '').replace(/\.$/, '');
    if (host === 'localhost' || host.endsWith('.localhost') || host === '::1' || /^127\./.test(host)) return true;
    return direct.some((entry) => {
      const [, name, at] = /^(.*?)(?::(\d+))?$/.exec(entry.includes('::') ? entry.replace(/^\[|\]$/g, '') : entry);
      if (at && at !== String(port)) return false;
      if (name === '*') return true;
      const suffix = name.replace(/^\*?\./, '');
      return host === suffix || host.endsWith('.' + suffix);
    });
  }

  // Tunnel is a connection to host:port through the proxy. What is written before it is
  // open waits.
  class Tunnel extends Duplex {
    constructor(host, port) {
      super({ allowHalfOpen: true });
      this.remote = (host.includes(':') ? '[' + host + ']' : host) + ':' + port;
      this.open = false;
      this.waiting = undefined;
      this.head = Buffer.alloc(0);
      this.socket = dial({ host: proxy.hostname.replace(/^\[|\]$/g, ''), port: Number(proxy.port || 80) });
      this.socket.on('connect', () => this.ask());
      this.socket.on('data', (data) => this.receive(data));
      this.socket.on('end', () => (this.open ? this.push(null) : this.refused('the proxy closed the connection')));
      this.socket.on('error', (error) => this.destroy(error));
      this.socket.on('close', () => this.destroy());
    }

    ask() {
      this.socket.setNoDelay(true);
      const user = decodeURIComponent(proxy.username), password = decodeURIComponent(proxy.password);
      const credentials = Buffer.from(user + ':' + password).toString('base64');
      this.socket.write('CONNECT ' + this.remote + ' HTTP/1.1\r\nHost: ' + this.remote +
        '\r\nProxy-Authorization: Basic ' + credentials + '\r\n\r\n');
    }

    receive(data) {
      if (this.open) {
        if (!this.push(data)) this.socket.pause();
        return;
      }
      this.head = Buffer.concat([this.head, data]);
      const end = this.head.indexOf('\r\n\r\n');
      if (end < 0) {
        if (this.head.length > 65536) this.refused('the proxy answered without an end');
        return;
      }
      const [status] = this.head.toString('latin1').split('\r\n', 1);
      if (!/^HTTP\/1\.[01] 2\d\d\b/.test(status)) return this.answered(status, end + 4);
      this.open = true;
      const rest = this.head.subarray(end + 4);
      this.head = undefined;
      if (rest.length) this.push(rest);
      if (this.waiting) this.waiting();
    }

    // answered waits for the sentence that comes with a refusal, and shows it.
    answered(status, start) {
      this.receive = (data) => { this.head = Buffer.concat([this.head, data]); };
      const tell = () => {
        let message = status;
        try { message = JSON.parse(this.head.subarray(start).toString()).message || status; } catch {
          message = this.head.subarray(start).toString().trim().slice(0, 500) || status;
        }
        this.refused(message);
      };
      this.socket.removeAllListeners('end');
      this.socket.on('end', tell);
      const length = /\r\ncontent-length: *(\d+)/i.exec(this.head.toString('latin1'));
      const whole = () => { if (length && this.head.length >= start + Number(length[1])) tell(); };
      this.socket.on('data', whole);
      whole();
    }

    refused(message) {
      this.destroy(Object.assign(new Error('connecting to ' + this.remote + ' through the proxy: ' + message), { code: 'ERR_PROXY_TUNNEL' }));
    }

    _read() { this.socket.resume(); }

    _write(chunk, encoding, done) {
      if (this.open) this.socket.write(chunk, encoding, done);
      else this.waiting = () => this.socket.write(chunk, encoding, done);
    }

    _final(done) {
      if (this.open) this.socket.end(done);
      else this.socket.destroy(), done();
    }

    _destroy(error, done) {
      this.socket.destroy();
      done(error);
    }
  }

  // What is set on the TLS socket is meant for the connection under it: one that is
  // unref'ed must not keep the program from ending.
  function share(socket, tunnel) {
    for (const name of ['ref', 'unref', 'setKeepAlive', 'setNoDelay']) {
      const own = socket[name];
      socket[name] = function(...args) {
        tunnel.socket[name](...args);
        return own.apply(this, args);
      };
    }
    return socket;
  }

  function speaksHTTP(options) {
    if (Number(options.port) === 443) return true;
    let names = options.ALPNProtocols || [];
    if (!Array.isArray(names)) names = [Buffer.from(names.buffer || names).toString('latin1')];
    return names.some((name) => /http\/1|h2/.test(Buffer.isBuffer(name) ? name.toString('latin1') : String(name)));
  }

  // optionsOf reads the forms of tls.connect: (options, done), (port, host, options, done).
  function optionsOf(args) {
    const options = {};
    let done;
    for (const [i, arg] of args.entries()) {
      if (typeof arg === 'function') done = arg;
      else if (arg && typeof arg === 'object') Object.assign(options, arg);
      else if (i === 0 && arg !== undefined) options.port = arg;
      else if (i === 1 && typeof arg === 'string') options.host = arg;
    }
    return [options, done];
  }

  tls.connect = function connect(...args) {
    const [options, done] = optionsOf(args);
    const host = options.host || 'localhost';
    if (options.socket || options.path || options.port === undefined || !speaksHTTP(options) || byItself(host, options.port)) {
      return dialTLS.apply(this, args);
    }
    const tunnel = new Tunnel(host, options.port);
    return share(dialTLS.call(this, { ...options, socket: tunnel }, done), tunnel);
  };
  require('module').syncBuiltinESMExports();
})();
