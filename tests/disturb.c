/* Ends the process, or lets the disk be full, at the N-th call that changes a directory.
 *
 * LD_PRELOAD=disturb.so DISTURB_DIR=/runs/x DISTURB_AT=17 DISTURB_HOW=kill|full python ...
 * DISTURB_LOG names a file that gets a line for each such call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int calls, full;

/* Whether this call is not to be made; the process may end here. */
static int disturbed(const char *what, const char *path) {
  const char *directory = getenv("DISTURB_DIR"), *at = getenv("DISTURB_AT");
  const char *how = getenv("DISTURB_HOW"), *log = getenv("DISTURB_LOG");
  if (!directory || !path || strncmp(path, directory, strlen(directory))) return 0;
  calls++;
  if (log) {
    int file = REAL(open)(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    char line[600];
    int n = snprintf(line, sizeof line, "%d %s %s\n", calls, what, path);
    if (REAL(write)(file, line, n) < 0) _exit(9);
    close(file);
  }
  if (!at || calls != atoi(at)) {
    /* A full disk stays full, but things can be removed. */
    if (full && strcmp(what, "unlink") && strcmp(what, "rmdir")) return errno = ENOSPC, 1;
    return 0;
  }
  if (how && !strcmp(how, "full")) return full = 1, errno = ENOSPC, 1;
  kill(getpid(), SIGKILL);
  pause();
  return 1;
}

static int disturbed_file(const char *what, int file) {
  char link[64], path[500];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = 0;
  return disturbed(what, path);
}

#define OPEN(name)                                                        \
  int name(const char *path, int flags, ...) {                            \
    va_list more;                                                         \
    va_start(more, flags);                                                \
    mode_t mode = va_arg(more, mode_t);                                   \
    va_end(more);                                                         \
    if ((flags & O_CREAT) && disturbed(#name, path)) return -1;           \
    return REAL(name)(path, flags, mode);                                 \
  }
OPEN(open)
OPEN(open64)

int mkdir(const char *path, mode_t mode) {
  return disturbed("mkdir", path) ? -1 : REAL(mkdir)(path, mode);
}
int rmdir(const char *path) { return disturbed("rmdir", path) ? -1 : REAL(rmdir)(path); }
int unlink(const char *path) { return disturbed("unlink", path) ? -1 : REAL(unlink)(path); }
int rename(const char *from, const char *to) {
  return disturbed("rename", to) ? -1 : REAL(rename)(from, to);
}
ssize_t write(int file, const void *bytes, size_t n) {
  return disturbed_file("write", file) ? -1 : REAL(write)(file, bytes, n);
}
int fsync(int file) { return disturbed_file("fsync", file) ? -1 : REAL(fsync)(file); }
