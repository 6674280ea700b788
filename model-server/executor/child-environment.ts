/** What glibc needs from the start of a process to give an unloaded model's memory back. */
const MALLOC = { MALLOC_ARENA_MAX: '2', MALLOC_TRIM_THRESHOLD_: '131072', MALLOC_MMAP_THRESHOLD_: '131072' };

/** What runtimes and drivers read; keys and tokens of the server are not among it. */
const PASSED =
  /^(PATH|HOME|TMPDIR|TEMP|TMP|TZ|LANG|LC_.*|SYSTEMROOT|LD_LIBRARY_PATH|DYLD_.*|MALLOC_.*|OMP_.*|ORT_.*|CUDA_.*|NVIDIA_.*|VK_.*|DAWN_.*|XDG_RUNTIME_DIR)$/i;

/**
 * The environment of a child process that runs a model: what runtimes and drivers need, and no secret of the server, since
 * who asks for a process of its own may not trust the model.
 */
export function childEnvironment(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const passed = Object.entries(env).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && PASSED.test(entry[0]),
  );
  return { ...MALLOC, ...Object.fromEntries(passed) };
}
