/*
 * The lock order of the whole house, outermost first. A thread that holds a lock
 * may take only locks of a higher rank; two locks of one rank may be held together only where
 * the second is taken with mutex_lock_nested (parents before children, lower address first).
 * Debug builds check this at every acquisition (base/lock.c).
 *
 * This is the only list; a new lock gets a row here, with who holds it while doing what.
 */
#ifndef PICKET_BASE_LOCK_ORDER_H
#define PICKET_BASE_LOCK_ORDER_H

#define LOCK_RANKS(X)                                                                              \
    X(EPOLL, "epoll: interest list; held while the files on it are polled")                        \
    X(RENAME, "vfs: directory renames in one super block")                                         \
    X(FILE_POS, "vfs: position of a file description")                                             \
    X(INODE_DIR, "vfs: directory contents (parents before children)")                              \
    X(MOUNT, "vfs: all mount trees and peer groups")                                               \
    X(INODE, "vfs: inode data and attributes")                                                     \
    X(PIPE, "pipefs: a pipe's buffer; held while user memory is copied, which may fault")          \
    X(SOCKET_RECV, "sockets: who reads; held while user memory is copied")                         \
    X(FUTEX_BUCKET, "futex: one hash bucket; held while the word is read, which may fault")        \
    X(MM_PINNED, "mm: memory that the host writes to just now; a fork waits for it")               \
    X(MM_MAPPING, "mm: VMAs of an address space")                                                  \
    X(MAPPABLE_MAPS, "fs: mapping set of a mappable; held while it invalidates")                   \
    X(MM_ACTIVE, "mm: PMAs of an address space, and the platform's copy of them")                  \
    X(MAPPABLE_DATA, "fs: which pages a mappable has; all that translate may take")                \
    X(UNIX_GC, "unix sockets: which files are in messages")                                        \
    X(UNIX_NAMES, "unix sockets: which socket has which name")                                     \
    X(SOCKET, "sockets: state and queues (listener before connecting socket)")                     \
    X(IPC, "System V IPC: the objects of one kind; a POSIX message queue")                         \
    X(TASK_TREE, "kernel: task tree, pid tables, process groups, sessions")                        \
    X(SIGHAND, "kernel: signal state of a thread group")                                           \
    X(TTY, "kernel: terminals")                                                                    \
    X(TIMERFD, "timerfd: its state")                                                               \
    X(TIMER, "kernel: timers and the timer wheel")                                                 \
    X(FD_TABLE, "vfs: a descriptor table")                                                         \
    X(FS_CONTEXT, "vfs: working directory, root and umask")                                        \
    X(FILE, "vfs: flags and owner of a file description; its epoll links")                         \
    X(DCACHE, "vfs: dentry tree and hash")                                                         \
    X(INOTIFY, "inotify: all watches and queues")                                                  \
    X(SECCOMP_NOTIFY, "seccomp: requests of a listener")                                           \
    X(HOST_EVENTS, "kernel: watched host descriptors; held while their queues are woken")          \
    X(WAIT_QUEUE, "kernel: a wait queue")                                                          \
    X(EPOLL_READY, "epoll: ready list; taken from wake-ups")                                       \
    X(EPOLL_GRAPH, "epoll: which instance watches which")                                          \
    X(TASK_WAKE, "kernel: a task's own state")                                                     \
    X(PLATFORM, "platform: address space bookkeeping")                                             \
    X(PLATFORM_REPORT, "platform: result of a clone in a stub process")                            \
    X(PLATFORM_POOL, "platform: stub processes in use and idle")                                   \
    X(PLATFORM_CPU, "platform: where tasks run")                                                   \
    X(MEMORY_FILE, "memmap: page allocation and reference counts")                                 \
    X(HOST_DIR, "hostfs: where a directory is read; held while the gofer answers")                 \
    X(HOST_FILE, "memmap: windows and counts of mapped host files")                                \
    X(CLOCK, "kernel: clock calibration")                                                          \
    X(LEAF, "anything that calls nothing while it holds it")                                       \
    X(LOG, "base: the log's output")

enum lock_rank {
#define LOCK_RANK_ENUM(name, what) LOCK_##name,
    LOCK_RANKS(LOCK_RANK_ENUM)
#undef LOCK_RANK_ENUM
        LOCK_RANK_COUNT
};

#endif
