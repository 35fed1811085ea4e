/** What the server says of itself, asked for once. */

import { get } from "./api.js";

export const session = get("/session").catch(() => ({}));
