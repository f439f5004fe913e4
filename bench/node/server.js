// The usual Node.js server for support tickets, written fairly: what the product is measured against.
//
// A message is saved, then broadcast to the ticket's room, then acknowledged. With REDIS_URL several processes
// share their rooms by the Redis adapter. BEST_CASE=1 broadcasts before it saves, which is faster and loses
// messages where the save fails.
import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import express from "express";
import mongoose from "mongoose";
import { createClient } from "redis";
import { Server } from "socket.io";

import { api } from "./api.js";
import { handle } from "./events.js";

const {
  PORT = "5000",
  HOST = "0.0.0.0",
  MONGO_URI = "mongodb://localhost:27017/ticket-system",
  CORS_ORIGIN = "http://localhost:3000",
  REDIS_URL,
  BEST_CASE,
} = process.env;

// One process works on few saves at a time: more connections than this only wait at the database.
await mongoose.connect(MONGO_URI, { maxPoolSize: 50, minPoolSize: 10 });

const app = express();
const server = createServer(app);
const io = new Server(server, {
  transports: ["websocket"],
  perMessageDeflate: false,
  serveClient: false,
  cors: { origin: CORS_ORIGIN },
});
if (REDIS_URL) {
  // The adapter does not wait for its publications: one that took longer than the client's five seconds ended the
  // process, and its timer costs with each of them.
  const publisher = createClient({ url: REDIS_URL, commandOptions: { timeout: undefined } });
  const subscriber = publisher.duplicate();
  for (const client of [publisher, subscriber]) {
    client.on("error", (error) => console.error("redis", error.message));
    await client.connect();
  }
  io.adapter(createAdapter(publisher, subscriber));
}

app.use(api());
io.on("connection", (socket) => handle(io, socket, { saveLast: BEST_CASE === "1" }));
server.listen({ port: Number(PORT), host: HOST, backlog: 4096 });

process.on("SIGTERM", () => {
  io.close();
  mongoose.disconnect().finally(() => process.exit(0));
});
