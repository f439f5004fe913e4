// The documents, with the indexes that their reads need.
import mongoose from "mongoose";

const { Schema, model } = mongoose;
const text = { type: String, required: true };

export const Ticket = model(
  "Ticket",
  new Schema(
    {
      subject: text,
      description: { type: String, default: "" },
      status: { type: String, enum: ["open", "pending", "closed"], default: "open", index: true },
      userId: text,
      userName: text,
    },
    { timestamps: true },
  ),
);

const message = new Schema(
  {
    ticketId: { type: Schema.Types.ObjectId, ref: "Ticket", required: true },
    senderId: text,
    senderType: { type: String, enum: ["user", "agent"], required: true },
    senderName: text,
    content: { type: String, required: true, maxlength: 8192 },
  },
  { timestamps: { createdAt: true, updatedAt: false } },
);
message.index({ ticketId: 1, createdAt: 1 });

export const Message = model("Message", message);
