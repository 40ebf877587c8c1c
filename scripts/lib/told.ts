/**
 * Imported first by every command: what fails before the command itself runs,
 * such as loading an addon that was not built, is told like any other error.
 */

import { formatError } from "@avjepa/core/error";

process.on("uncaughtException", (error) => {
  console.error(formatError(error));
  process.exit(1);
});
