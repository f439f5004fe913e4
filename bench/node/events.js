// The Socket.IO events.
import { Message, Ticket } from "./models.js";

// Registers the events of one socket. With `saveLast` a message is broadcast before it is saved.
export function handle(io, socket, { saveLast }) {
  on(socket, "join_ticket", async ({ ticketId, userId, userType, userName }) => {
    const ticket = await Ticket.findById(ticketId).lean();
    if (!ticket) throw new Error("no such ticket");
    await socket.join(room(ticketId));
    socket.to(room(ticketId)).emit("user_joined", { ticketId, userId, userType, userName });
    return { ticket };
  });

  on(socket, "send_message", async ({ ticketId, senderId, senderType, senderName, content }) => {
    const message = new Message({ ticketId, senderId, senderType, senderName, content });
    // Before it is saved, the time of its creation is not set.
    if (saveLast) message.createdAt = new Date();
    else await message.save();
    io.to(room(ticketId)).emit("message_received", { message });
    if (saveLast) await message.save();
    return { message };
  });

  on(socket, "typing", async ({ ticketId, senderId, senderName, isTyping }) => {
    socket.to(room(ticketId)).emit("typing_indicator", { ticketId, senderId, senderName, isTyping });
  });

  on(socket, "ticket_status_change", async ({ ticketId, status, changedBy, changedByName }) => {
    const changed = { returnDocument: "after", runValidators: true };
    const ticket = await Ticket.findByIdAndUpdate(ticketId, { status }, changed).lean();
    if (!ticket) throw new Error("no such ticket");
    io.to(room(ticketId)).emit("ticket_updated", { ticketId, status, changedBy, changedByName, ticket });
    return { ticket };
  });
}

const room = (ticketId) => `ticket:${ticketId}`;

// Answers what the handler returns, or that it failed, where an answer is wanted.
function on(socket, event, handler) {
  socket.on(event, async (payload, ack) => {
    try {
      const answer = await handler(payload ?? {});
      ack?.({ ok: true, ...answer });
    } catch (error) {
      ack?.({ ok: false, error: { message: error.message } });
    }
  });
}
