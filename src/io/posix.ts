/** Whether this system has what POSIX promises of files: owners and modes, and folders that can be made durable. */

/**
 * Windows has none of that: a file's mode there is made up by the runtime, and who may read it is said by the folder's access list. The folders
 * that Slipway chooses by itself lie in the user's profile, which Windows keeps from other users.
 */
export const isPosix = process.platform !== "win32";
