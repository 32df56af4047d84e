// Runs inside a network namespace and holds real sockets: one JSON command a line on standard input, one JSON answer a line.
import dgram from "node:dgram";
import net from "node:net";
import readline from "node:readline";

const sockets = new Map();

const commands = {
  // `six`: of IPv6, and where it is bound to all addresses of IPv4 too.
  udpBind({ port, echo, six = false }) {
    const socket = dgram.createSocket(six ? "udp6" : "udp4");
    sockets.set(port, socket);
    if (echo) socket.on("message", (data, from) => socket.send(data, from.port, from.address));
    socket.on("error", () => {});
    return new Promise((resolve) => socket.bind(port, six ? "::" : "0.0.0.0", () => resolve("")));
  },
  udpClose({ port }) {
    return new Promise((resolve) => sockets.get(port).close(() => resolve("")));
  },
  udpSend({ port, to, toPort, text }) {
    return new Promise((resolve) => sockets.get(port).send(text, toPort, to, (error) => resolve(error?.code ?? "")));
  },
  tcpServe({ port, response, six = false }) {
    const server = net.createServer({ noDelay: true }, (socket) => {
      socket.once("data", () => socket.end(response));
      socket.on("error", () => {});
    });
    return new Promise((resolve) => server.listen(port, six ? "::" : "0.0.0.0", () => resolve("")));
  },
  tcpRequest({ port, to, toPort, request }) {
    return new Promise((resolve) => {
      let got = "";
      const socket = net.connect({ host: to, port: toPort, localPort: port, noDelay: true }, () =>
        socket.write(request),
      );
      socket.on("data", (data) => {
        got += data;
      });
      socket.on("end", () => resolve(got));
      socket.on("error", (error) => resolve(error.code));
    });
  },
};

readline.createInterface({ input: process.stdin }).on("line", async (line) => {
  const command = JSON.parse(line);
  const answer = await commands[command.do](command);
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});
process.stdin.on("end", () => process.exit(0));
