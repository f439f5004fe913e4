// The REST routes.
import express from "express";
import mongoose from "mongoose";

import { Message, Ticket } from "./models.js";

export function api() {
  const routes = express.Router();
  routes.use(express.json({ limit: "64kb" }));

  routes.get(["/health", "/readyz"], (_request, response) => {
    const up = mongoose.connection.readyState === 1;
    response.status(up ? 200 : 503).json({ status: up ? "ok" : "down" });
  });

  routes.get("/tickets", async (_request, response) => {
    response.json({ tickets: await Ticket.find().sort({ _id: -1 }).limit(50).lean() });
  });

  routes.post("/tickets", async (request, response) => {
    const { subject, title, description, userId, userName } = request.body ?? {};
    const ticket = await Ticket.create({ subject: subject ?? title, description, userId, userName });
    response.status(201).location(`/tickets/${ticket.id}`).json({ ticket });
  });

  routes.get("/tickets/:id/messages", async (request, response) => {
    const messages = await Message.find({ ticketId: request.params.id }).sort({ createdAt: 1 }).limit(200).lean();
    response.json({ messages });
  });

  routes.use((error, _request, response, _next) => {
    const wrong = error instanceof mongoose.Error || error.status < 500;
    response.status(wrong ? 400 : 500).json({ error: wrong ? error.message : "internal" });
  });
  return routes;
}
