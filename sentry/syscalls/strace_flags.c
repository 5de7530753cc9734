/*
 * The strace printer: names of flags and of numbers. One table for each set, one row in flag_sets
 * for each kind of argument that uses it.
 */
#include "sentry/syscalls/strace_format.h"

#include <asm/ioctls.h>
#include <asm/prctl.h>
#include <asm/termbits.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/openat2.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* Newer than the headers. */
#define MFD_NOEXEC_SEAL 8u
#define MFD_EXEC 16u
#define MAP_DROPPABLE 8
#define LINUX_O_LARGEFILE 0100000 /* what the kernel has; glibc says 0 */

/* A bit or several; a value of a field of several bits; one of a list of numbers. */
#define BITS(name)                                                                                 \
    {                                                                                              \
        (uint64_t)(name), (uint64_t)(name), #name                                                  \
    }
#define FIELD(name, mask)                                                                          \
    {                                                                                              \
        (uint64_t)(name), (uint64_t)(mask), #name                                                  \
    }
#define ONE(name)                                                                                  \
    {                                                                                              \
        (uint64_t)(uint32_t)(name), UINT64_MAX, #name                                              \
    }
static const struct strace_flag open_flags[] = {
    FIELD(O_RDONLY, O_ACCMODE),
    FIELD(O_WRONLY, O_ACCMODE),
    FIELD(O_RDWR, O_ACCMODE),
    BITS(O_CREAT),
    BITS(O_EXCL),
    BITS(O_NOCTTY),
    BITS(O_TRUNC),
    BITS(O_APPEND),
    BITS(O_NONBLOCK),
    BITS(O_SYNC),
    BITS(O_DSYNC),
    BITS(O_ASYNC),
    BITS(O_DIRECT),
    {LINUX_O_LARGEFILE, LINUX_O_LARGEFILE, "O_LARGEFILE"},
    BITS(O_NOFOLLOW),
    BITS(O_NOATIME),
    BITS(O_CLOEXEC),
    BITS(O_PATH),
    BITS(O_TMPFILE),
    BITS(O_DIRECTORY)};
static const struct strace_flag pipe_flags[] = {BITS(O_NONBLOCK), BITS(O_DIRECT), BITS(O_CLOEXEC)};
static const struct strace_flag at_flags[] = {BITS(AT_SYMLINK_NOFOLLOW), BITS(AT_SYMLINK_FOLLOW),
                                              BITS(AT_NO_AUTOMOUNT), BITS(AT_EMPTY_PATH),
                                              BITS(AT_RECURSIVE)};
static const struct strace_flag unlinkat_flags[] = {BITS(AT_REMOVEDIR)};
static const struct strace_flag faccessat_flags[] = {BITS(AT_EACCESS), BITS(AT_SYMLINK_NOFOLLOW),
                                                     BITS(AT_EMPTY_PATH)};
static const struct strace_flag statx_flags[] = {FIELD(AT_STATX_SYNC_AS_STAT, AT_STATX_SYNC_TYPE),
                                                 FIELD(AT_STATX_FORCE_SYNC, AT_STATX_SYNC_TYPE),
                                                 FIELD(AT_STATX_DONT_SYNC, AT_STATX_SYNC_TYPE),
                                                 BITS(AT_SYMLINK_NOFOLLOW),
                                                 BITS(AT_NO_AUTOMOUNT),
                                                 BITS(AT_EMPTY_PATH)};
static const struct strace_flag statx_mask[] = {
    BITS(STATX_ALL),    BITS(STATX_BASIC_STATS), BITS(STATX_TYPE),  BITS(STATX_MODE),
    BITS(STATX_NLINK),  BITS(STATX_UID),         BITS(STATX_GID),   BITS(STATX_ATIME),
    BITS(STATX_MTIME),  BITS(STATX_CTIME),       BITS(STATX_INO),   BITS(STATX_SIZE),
    BITS(STATX_BLOCKS), BITS(STATX_BTIME),       BITS(STATX_MNT_ID)};
static const struct strace_flag access_modes[] = {ONE(F_OK), BITS(R_OK), BITS(W_OK), BITS(X_OK)};
static const struct strace_flag whence[] = {ONE(SEEK_SET), ONE(SEEK_CUR), ONE(SEEK_END),
                                            ONE(SEEK_DATA), ONE(SEEK_HOLE)};
static const struct strace_flag prot_flags[] = {ONE(PROT_NONE),       BITS(PROT_READ),
                                                BITS(PROT_WRITE),     BITS(PROT_EXEC),
                                                BITS(PROT_GROWSDOWN), BITS(PROT_GROWSUP)};
static const struct strace_flag mmap_flags[] = {FIELD(MAP_FILE, MAP_TYPE),
                                                FIELD(MAP_SHARED, MAP_TYPE),
                                                FIELD(MAP_PRIVATE, MAP_TYPE),
                                                FIELD(MAP_SHARED_VALIDATE, MAP_TYPE),
                                                FIELD(MAP_DROPPABLE, MAP_TYPE),
                                                BITS(MAP_FIXED),
                                                BITS(MAP_ANONYMOUS),
                                                BITS(MAP_32BIT),
                                                BITS(MAP_FIXED_NOREPLACE),
                                                BITS(MAP_GROWSDOWN),
                                                BITS(MAP_DENYWRITE),
                                                BITS(MAP_EXECUTABLE),
                                                BITS(MAP_LOCKED),
                                                BITS(MAP_NORESERVE),
                                                BITS(MAP_POPULATE),
                                                BITS(MAP_NONBLOCK),
                                                BITS(MAP_STACK),
                                                BITS(MAP_HUGETLB),
                                                BITS(MAP_SYNC)};
static const struct strace_flag mremap_flags[] = {BITS(MREMAP_MAYMOVE), BITS(MREMAP_FIXED),
                                                  BITS(MREMAP_DONTUNMAP)};
static const struct strace_flag msync_flags[] = {BITS(MS_ASYNC), BITS(MS_INVALIDATE),
                                                 BITS(MS_SYNC)};
static const struct strace_flag madvice[] = {
    ONE(MADV_NORMAL),          ONE(MADV_RANDOM),        ONE(MADV_SEQUENTIAL),
    ONE(MADV_WILLNEED),        ONE(MADV_DONTNEED),      ONE(MADV_FREE),
    ONE(MADV_REMOVE),          ONE(MADV_DONTFORK),      ONE(MADV_DOFORK),
    ONE(MADV_MERGEABLE),       ONE(MADV_UNMERGEABLE),   ONE(MADV_HUGEPAGE),
    ONE(MADV_NOHUGEPAGE),      ONE(MADV_DONTDUMP),      ONE(MADV_DODUMP),
    ONE(MADV_WIPEONFORK),      ONE(MADV_KEEPONFORK),    ONE(MADV_COLD),
    ONE(MADV_PAGEOUT),         ONE(MADV_POPULATE_READ), ONE(MADV_POPULATE_WRITE),
    ONE(MADV_DONTNEED_LOCKED), ONE(MADV_HWPOISON)};
static const struct strace_flag mlockall_flags[] = {BITS(MCL_CURRENT), BITS(MCL_FUTURE),
                                                    BITS(MCL_ONFAULT)};
static const struct strace_flag mlock2_flags[] = {BITS(MLOCK_ONFAULT)};
static const struct strace_flag sig_how[] = {ONE(SIG_BLOCK), ONE(SIG_UNBLOCK), ONE(SIG_SETMASK)};
static const struct strace_flag ioctls[] = {
    ONE(TCGETS),    ONE(TCSETS),     ONE(TCSETSW),     ONE(TCSETSF),    ONE(TCGETA),
    ONE(TCSETA),    ONE(TCSETAW),    ONE(TCSETAF),     ONE(TCSBRK),     ONE(TCXONC),
    ONE(TCFLSH),    ONE(TIOCEXCL),   ONE(TIOCNXCL),    ONE(TIOCSCTTY),  ONE(TIOCGPGRP),
    ONE(TIOCSPGRP), ONE(TIOCOUTQ),   ONE(TIOCSTI),     ONE(TIOCGWINSZ), ONE(TIOCSWINSZ),
    ONE(TIOCMGET),  ONE(TIOCMBIS),   ONE(TIOCMBIC),    ONE(TIOCMSET),   ONE(FIONREAD),
    ONE(TIOCLINUX), ONE(TIOCCONS),   ONE(TIOCPKT),     ONE(FIONBIO),    ONE(TIOCNOTTY),
    ONE(TIOCSETD),  ONE(TIOCGETD),   ONE(TCSBRKP),     ONE(TIOCSBRK),   ONE(TIOCCBRK),
    ONE(TIOCGSID),  ONE(TCGETS2),    ONE(TCSETS2),     ONE(TCSETSW2),   ONE(TCSETSF2),
    ONE(TIOCGPTN),  ONE(TIOCSPTLCK), ONE(TIOCGPTPEER), ONE(FIONCLEX),   ONE(FIOCLEX),
    ONE(FIOASYNC)};
static const struct strace_flag fcntl_cmds[] = {
    ONE(F_DUPFD),         ONE(F_GETFD),      ONE(F_SETFD),      ONE(F_GETFL),     ONE(F_SETFL),
    ONE(F_GETLK),         ONE(F_SETLK),      ONE(F_SETLKW),     ONE(F_SETOWN),    ONE(F_GETOWN),
    ONE(F_SETSIG),        ONE(F_GETSIG),     ONE(F_SETOWN_EX),  ONE(F_GETOWN_EX), ONE(F_OFD_GETLK),
    ONE(F_OFD_SETLK),     ONE(F_OFD_SETLKW), ONE(F_SETLEASE),   ONE(F_GETLEASE),  ONE(F_NOTIFY),
    ONE(F_DUPFD_CLOEXEC), ONE(F_SETPIPE_SZ), ONE(F_GETPIPE_SZ), ONE(F_ADD_SEALS), ONE(F_GET_SEALS)};
static const struct strace_flag flock_ops[] = {BITS(LOCK_SH), BITS(LOCK_EX), BITS(LOCK_NB),
                                               BITS(LOCK_UN)};
static const struct strace_flag clone_flags[] = {BITS(CLONE_VM),
                                                 BITS(CLONE_FS),
                                                 BITS(CLONE_FILES),
                                                 BITS(CLONE_SIGHAND),
                                                 BITS(CLONE_PIDFD),
                                                 BITS(CLONE_PTRACE),
                                                 BITS(CLONE_VFORK),
                                                 BITS(CLONE_PARENT),
                                                 BITS(CLONE_THREAD),
                                                 BITS(CLONE_NEWNS),
                                                 BITS(CLONE_SYSVSEM),
                                                 BITS(CLONE_SETTLS),
                                                 BITS(CLONE_PARENT_SETTID),
                                                 BITS(CLONE_CHILD_CLEARTID),
                                                 BITS(CLONE_DETACHED),
                                                 BITS(CLONE_UNTRACED),
                                                 BITS(CLONE_CHILD_SETTID),
                                                 BITS(CLONE_NEWCGROUP),
                                                 BITS(CLONE_NEWUTS),
                                                 BITS(CLONE_NEWIPC),
                                                 BITS(CLONE_NEWUSER),
                                                 BITS(CLONE_NEWPID),
                                                 BITS(CLONE_NEWNET),
                                                 BITS(CLONE_IO)};
static const struct strace_flag wait_options[] = {
    BITS(WNOHANG), BITS(WSTOPPED),    BITS(WEXITED), BITS(WCONTINUED),
    BITS(WNOWAIT), BITS(__WNOTHREAD), BITS(__WALL),  BITS(__WCLONE)};
static const struct strace_flag waitid_types[] = {ONE(P_ALL), ONE(P_PID), ONE(P_PGID),
                                                  ONE(P_PIDFD)};
static const struct strace_flag futex_ops[] = {FIELD(FUTEX_WAIT, 0x7f),
                                               FIELD(FUTEX_WAKE, 0x7f),
                                               FIELD(FUTEX_FD, 0x7f),
                                               FIELD(FUTEX_REQUEUE, 0x7f),
                                               FIELD(FUTEX_CMP_REQUEUE, 0x7f),
                                               FIELD(FUTEX_WAKE_OP, 0x7f),
                                               FIELD(FUTEX_LOCK_PI, 0x7f),
                                               FIELD(FUTEX_UNLOCK_PI, 0x7f),
                                               FIELD(FUTEX_TRYLOCK_PI, 0x7f),
                                               FIELD(FUTEX_WAIT_BITSET, 0x7f),
                                               FIELD(FUTEX_WAKE_BITSET, 0x7f),
                                               FIELD(FUTEX_WAIT_REQUEUE_PI, 0x7f),
                                               FIELD(FUTEX_CMP_REQUEUE_PI, 0x7f),
                                               FIELD(FUTEX_LOCK_PI2, 0x7f),
                                               BITS(FUTEX_PRIVATE_FLAG),
                                               BITS(FUTEX_CLOCK_REALTIME)};
static const struct strace_flag rlimits[] = {
    ONE(RLIMIT_CPU),      ONE(RLIMIT_FSIZE), ONE(RLIMIT_DATA),   ONE(RLIMIT_STACK),
    ONE(RLIMIT_CORE),     ONE(RLIMIT_RSS),   ONE(RLIMIT_NPROC),  ONE(RLIMIT_NOFILE),
    ONE(RLIMIT_MEMLOCK),  ONE(RLIMIT_AS),    ONE(RLIMIT_LOCKS),  ONE(RLIMIT_SIGPENDING),
    ONE(RLIMIT_MSGQUEUE), ONE(RLIMIT_NICE),  ONE(RLIMIT_RTPRIO), ONE(RLIMIT_RTTIME)};
static const struct strace_flag rusage_who[] = {ONE(RUSAGE_SELF), ONE(RUSAGE_CHILDREN),
                                                ONE(RUSAGE_THREAD)};
static const struct strace_flag itimers[] = {ONE(ITIMER_REAL), ONE(ITIMER_VIRTUAL),
                                             ONE(ITIMER_PROF)};
static const struct strace_flag clocks[] = {ONE(CLOCK_REALTIME),
                                            ONE(CLOCK_MONOTONIC),
                                            ONE(CLOCK_PROCESS_CPUTIME_ID),
                                            ONE(CLOCK_THREAD_CPUTIME_ID),
                                            ONE(CLOCK_MONOTONIC_RAW),
                                            ONE(CLOCK_REALTIME_COARSE),
                                            ONE(CLOCK_MONOTONIC_COARSE),
                                            ONE(CLOCK_BOOTTIME),
                                            ONE(CLOCK_REALTIME_ALARM),
                                            ONE(CLOCK_BOOTTIME_ALARM),
                                            ONE(CLOCK_TAI)};
static const struct strace_flag timer_flags[] = {BITS(TIMER_ABSTIME),
                                                 BITS(TFD_TIMER_CANCEL_ON_SET)};
static const struct strace_flag timerfd_flags[] = {BITS(TFD_CLOEXEC), BITS(TFD_NONBLOCK)};
static const struct strace_flag sock_domains[] = {ONE(AF_UNSPEC), ONE(AF_UNIX),    ONE(AF_INET),
                                                  ONE(AF_INET6),  ONE(AF_NETLINK), ONE(AF_PACKET),
                                                  ONE(AF_ALG),    ONE(AF_VSOCK)};
static const struct strace_flag sock_types[] = {
    FIELD(SOCK_STREAM, 0xf),    FIELD(SOCK_DGRAM, 0xf), FIELD(SOCK_RAW, 0xf), FIELD(SOCK_RDM, 0xf),
    FIELD(SOCK_SEQPACKET, 0xf), BITS(SOCK_CLOEXEC),     BITS(SOCK_NONBLOCK)};
static const struct strace_flag sock_flags[] = {BITS(SOCK_CLOEXEC), BITS(SOCK_NONBLOCK)};
static const struct strace_flag sock_protos[] = {ONE(IPPROTO_IP),   ONE(IPPROTO_ICMP),
                                                 ONE(IPPROTO_TCP),  ONE(IPPROTO_UDP),
                                                 ONE(IPPROTO_IPV6), ONE(IPPROTO_ICMPV6)};
static const struct strace_flag sock_levels[] = {{0, UINT64_MAX, "SOL_IP"},
                                                 ONE(SOL_SOCKET),
                                                 {6, UINT64_MAX, "SOL_TCP"},
                                                 {17, UINT64_MAX, "SOL_UDP"},
                                                 {41, UINT64_MAX, "SOL_IPV6"}};
static const struct strace_flag sock_opts[] = {
    ONE(SO_DEBUG),     ONE(SO_REUSEADDR),   ONE(SO_TYPE),        ONE(SO_ERROR),
    ONE(SO_DONTROUTE), ONE(SO_BROADCAST),   ONE(SO_SNDBUF),      ONE(SO_RCVBUF),
    ONE(SO_KEEPALIVE), ONE(SO_OOBINLINE),   ONE(SO_PRIORITY),    ONE(SO_LINGER),
    ONE(SO_REUSEPORT), ONE(SO_PASSCRED),    ONE(SO_PEERCRED),    ONE(SO_RCVLOWAT),
    ONE(SO_SNDLOWAT),  ONE(SO_RCVTIMEO),    ONE(SO_SNDTIMEO),    ONE(SO_ACCEPTCONN),
    ONE(SO_PEERSEC),   ONE(SO_SNDBUFFORCE), ONE(SO_RCVBUFFORCE), ONE(SO_PROTOCOL),
    ONE(SO_DOMAIN)};
static const struct strace_flag msg_flags[] = {
    BITS(MSG_OOB),        BITS(MSG_PEEK),        BITS(MSG_DONTROUTE), BITS(MSG_CTRUNC),
    BITS(MSG_TRUNC),      BITS(MSG_DONTWAIT),    BITS(MSG_EOR),       BITS(MSG_WAITALL),
    BITS(MSG_CONFIRM),    BITS(MSG_ERRQUEUE),    BITS(MSG_NOSIGNAL),  BITS(MSG_MORE),
    BITS(MSG_WAITFORONE), BITS(MSG_CMSG_CLOEXEC)};
static const struct strace_flag shutdown_how[] = {ONE(SHUT_RD), ONE(SHUT_WR), ONE(SHUT_RDWR)};
static const struct strace_flag epoll_ops[] = {ONE(EPOLL_CTL_ADD), ONE(EPOLL_CTL_DEL),
                                               ONE(EPOLL_CTL_MOD)};
static const struct strace_flag epoll_flags[] = {BITS(EPOLL_CLOEXEC)};
static const struct strace_flag eventfd_flags[] = {BITS(EFD_CLOEXEC), BITS(EFD_NONBLOCK),
                                                   BITS(EFD_SEMAPHORE)};
static const struct strace_flag signalfd_flags[] = {BITS(SFD_CLOEXEC), BITS(SFD_NONBLOCK)};
static const struct strace_flag inotify_mask[] = {
    BITS(IN_ACCESS),        BITS(IN_MODIFY),      BITS(IN_ATTRIB),      BITS(IN_CLOSE_WRITE),
    BITS(IN_CLOSE_NOWRITE), BITS(IN_OPEN),        BITS(IN_MOVED_FROM),  BITS(IN_MOVED_TO),
    BITS(IN_CREATE),        BITS(IN_DELETE),      BITS(IN_DELETE_SELF), BITS(IN_MOVE_SELF),
    BITS(IN_UNMOUNT),       BITS(IN_Q_OVERFLOW),  BITS(IN_IGNORED),     BITS(IN_ONLYDIR),
    BITS(IN_DONT_FOLLOW),   BITS(IN_EXCL_UNLINK), BITS(IN_MASK_CREATE), BITS(IN_MASK_ADD),
    BITS(IN_ISDIR),         BITS(IN_ONESHOT)};
static const struct strace_flag inotify_flags[] = {BITS(IN_CLOEXEC), BITS(IN_NONBLOCK)};
static const struct strace_flag prctl_ops[] = {ONE(PR_SET_PDEATHSIG),
                                               ONE(PR_GET_PDEATHSIG),
                                               ONE(PR_GET_DUMPABLE),
                                               ONE(PR_SET_DUMPABLE),
                                               ONE(PR_GET_KEEPCAPS),
                                               ONE(PR_SET_KEEPCAPS),
                                               ONE(PR_GET_TIMING),
                                               ONE(PR_SET_TIMING),
                                               ONE(PR_SET_NAME),
                                               ONE(PR_GET_NAME),
                                               ONE(PR_GET_SECCOMP),
                                               ONE(PR_SET_SECCOMP),
                                               ONE(PR_CAPBSET_READ),
                                               ONE(PR_CAPBSET_DROP),
                                               ONE(PR_GET_TSC),
                                               ONE(PR_SET_TSC),
                                               ONE(PR_GET_SECUREBITS),
                                               ONE(PR_SET_SECUREBITS),
                                               ONE(PR_SET_TIMERSLACK),
                                               ONE(PR_GET_TIMERSLACK),
                                               ONE(PR_MCE_KILL),
                                               ONE(PR_MCE_KILL_GET),
                                               ONE(PR_SET_MM),
                                               ONE(PR_SET_PTRACER),
                                               ONE(PR_SET_CHILD_SUBREAPER),
                                               ONE(PR_GET_CHILD_SUBREAPER),
                                               ONE(PR_SET_NO_NEW_PRIVS),
                                               ONE(PR_GET_NO_NEW_PRIVS),
                                               ONE(PR_GET_TID_ADDRESS),
                                               ONE(PR_SET_THP_DISABLE),
                                               ONE(PR_GET_THP_DISABLE),
                                               ONE(PR_CAP_AMBIENT),
                                               ONE(PR_GET_SPECULATION_CTRL),
                                               ONE(PR_SET_SPECULATION_CTRL),
                                               ONE(PR_SET_IO_FLUSHER),
                                               ONE(PR_GET_IO_FLUSHER),
                                               ONE(PR_SET_SYSCALL_USER_DISPATCH),
                                               ONE(PR_SCHED_CORE),
                                               ONE(PR_SET_VMA)};
static const struct strace_flag arch_prctl_ops[] = {ONE(ARCH_SET_GS),
                                                    ONE(ARCH_SET_FS),
                                                    ONE(ARCH_GET_FS),
                                                    ONE(ARCH_GET_GS),
                                                    ONE(ARCH_GET_CPUID),
                                                    ONE(ARCH_SET_CPUID),
                                                    ONE(ARCH_GET_XCOMP_SUPP),
                                                    ONE(ARCH_GET_XCOMP_PERM),
                                                    ONE(ARCH_REQ_XCOMP_PERM),
                                                    ONE(ARCH_MAP_VDSO_64),
                                                    {0x3001, UINT64_MAX, "ARCH_CET_STATUS"},
                                                    {0x5001, UINT64_MAX, "ARCH_SHSTK_ENABLE"}};
static const struct strace_flag ptrace_ops[] = {
    ONE(PTRACE_TRACEME),     ONE(PTRACE_PEEKTEXT),   ONE(PTRACE_PEEKDATA),   ONE(PTRACE_PEEKUSER),
    ONE(PTRACE_POKETEXT),    ONE(PTRACE_POKEDATA),   ONE(PTRACE_POKEUSER),   ONE(PTRACE_CONT),
    ONE(PTRACE_KILL),        ONE(PTRACE_SINGLESTEP), ONE(PTRACE_GETREGS),    ONE(PTRACE_SETREGS),
    ONE(PTRACE_ATTACH),      ONE(PTRACE_DETACH),     ONE(PTRACE_SYSCALL),    ONE(PTRACE_SETOPTIONS),
    ONE(PTRACE_GETEVENTMSG), ONE(PTRACE_GETSIGINFO), ONE(PTRACE_SETSIGINFO), ONE(PTRACE_GETREGSET),
    ONE(PTRACE_SETREGSET),   ONE(PTRACE_SEIZE),      ONE(PTRACE_INTERRUPT),  ONE(PTRACE_LISTEN)};
static const struct strace_flag personalities[] = {
    ONE(0xffffffff),         FIELD(PER_LINUX, 0xff), BITS(UNAME26),
    BITS(ADDR_NO_RANDOMIZE), BITS(MMAP_PAGE_ZERO),   BITS(ADDR_COMPAT_LAYOUT),
    BITS(READ_IMPLIES_EXEC), BITS(ADDR_LIMIT_32BIT), BITS(SHORT_INODE),
    BITS(WHOLE_SECONDS),     BITS(STICKY_TIMEOUTS),  BITS(ADDR_LIMIT_3GB)};
static const struct strace_flag prio_which[] = {ONE(PRIO_PROCESS), ONE(PRIO_PGRP), ONE(PRIO_USER)};
static const struct strace_flag sched_policies[] = {
    FIELD(SCHED_OTHER, 0xffff), FIELD(SCHED_FIFO, 0xffff), FIELD(SCHED_RR, 0xffff),
    FIELD(SCHED_BATCH, 0xffff), FIELD(SCHED_IDLE, 0xffff), FIELD(SCHED_DEADLINE, 0xffff),
    BITS(SCHED_RESET_ON_FORK)};
static const struct strace_flag mount_flags[] = {
    BITS(MS_RDONLY),      BITS(MS_NOSUID),     BITS(MS_NODEV),    BITS(MS_NOEXEC),
    BITS(MS_SYNCHRONOUS), BITS(MS_REMOUNT),    BITS(MS_MANDLOCK), BITS(MS_DIRSYNC),
    BITS(MS_NOATIME),     BITS(MS_NODIRATIME), BITS(MS_BIND),     BITS(MS_MOVE),
    BITS(MS_REC),         BITS(MS_SILENT),     BITS(MS_POSIXACL), BITS(MS_UNBINDABLE),
    BITS(MS_PRIVATE),     BITS(MS_SLAVE),      BITS(MS_SHARED),   BITS(MS_RELATIME),
    BITS(MS_STRICTATIME), BITS(MS_LAZYTIME)};
static const struct strace_flag umount_flags[] = {BITS(MNT_FORCE), BITS(MNT_DETACH),
                                                  BITS(MNT_EXPIRE), BITS(UMOUNT_NOFOLLOW)};
static const struct strace_flag xattr_flags[] = {BITS(XATTR_CREATE), BITS(XATTR_REPLACE)};
static const struct strace_flag fadvice[] = {ONE(POSIX_FADV_NORMAL),     ONE(POSIX_FADV_RANDOM),
                                             ONE(POSIX_FADV_SEQUENTIAL), ONE(POSIX_FADV_WILLNEED),
                                             ONE(POSIX_FADV_DONTNEED),   ONE(POSIX_FADV_NOREUSE)};
static const struct strace_flag falloc_flags[] = {
    BITS(FALLOC_FL_KEEP_SIZE),  BITS(FALLOC_FL_PUNCH_HOLE),   BITS(FALLOC_FL_COLLAPSE_RANGE),
    BITS(FALLOC_FL_ZERO_RANGE), BITS(FALLOC_FL_INSERT_RANGE), BITS(FALLOC_FL_UNSHARE_RANGE)};
static const struct strace_flag splice_flags[] = {BITS(SPLICE_F_MOVE), BITS(SPLICE_F_NONBLOCK),
                                                  BITS(SPLICE_F_MORE), BITS(SPLICE_F_GIFT)};
static const struct strace_flag rename_flags[] = {BITS(RENAME_NOREPLACE), BITS(RENAME_EXCHANGE),
                                                  BITS(RENAME_WHITEOUT)};
static const struct strace_flag seccomp_ops[] = {
    ONE(SECCOMP_SET_MODE_STRICT), ONE(SECCOMP_SET_MODE_FILTER), ONE(SECCOMP_GET_ACTION_AVAIL),
    ONE(SECCOMP_GET_NOTIF_SIZES)};
static const struct strace_flag getrandom_flags[] = {BITS(GRND_NONBLOCK), BITS(GRND_RANDOM),
                                                     BITS(GRND_INSECURE)};
static const struct strace_flag memfd_flags[] = {BITS(MFD_CLOEXEC), BITS(MFD_ALLOW_SEALING),
                                                 BITS(MFD_HUGETLB), BITS(MFD_NOEXEC_SEAL),
                                                 BITS(MFD_EXEC)};
static const struct strace_flag membarrier_cmds[] = {
    ONE(MEMBARRIER_CMD_QUERY),
    ONE(MEMBARRIER_CMD_GLOBAL),
    ONE(MEMBARRIER_CMD_GLOBAL_EXPEDITED),
    ONE(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED),
    ONE(MEMBARRIER_CMD_PRIVATE_EXPEDITED),
    ONE(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED),
    ONE(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE),
    ONE(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE),
    ONE(MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ),
    ONE(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ)};
static const struct strace_flag rwf_flags[] = {BITS(RWF_HIPRI), BITS(RWF_DSYNC), BITS(RWF_SYNC),
                                               BITS(RWF_NOWAIT), BITS(RWF_APPEND)};
static const struct strace_flag close_range_flags[] = {BITS(CLOSE_RANGE_UNSHARE),
                                                       BITS(CLOSE_RANGE_CLOEXEC)};
static const struct strace_flag ipc_keys[] = {ONE(IPC_PRIVATE)};
static const struct strace_flag ipc_flags[] = {BITS(IPC_CREAT), BITS(IPC_EXCL), BITS(IPC_NOWAIT)};
static const struct strace_flag ipc_cmds[] = {
    ONE(IPC_RMID), ONE(IPC_SET),  ONE(IPC_STAT),  ONE(IPC_INFO), ONE(GETPID),
    ONE(GETVAL),   ONE(GETALL),   ONE(GETNCNT),   ONE(GETZCNT),  ONE(SETVAL),
    ONE(SETALL),   ONE(SHM_LOCK), ONE(SHM_UNLOCK)};
static const struct strace_flag shmat_flags[] = {BITS(SHM_RDONLY), BITS(SHM_RND), BITS(SHM_REMAP),
                                                 BITS(SHM_EXEC)};
static const struct strace_flag sa_flags[] = {{0x04000000, 0x04000000, "SA_RESTORER"},
                                              BITS(SA_NOCLDSTOP),
                                              BITS(SA_NOCLDWAIT),
                                              BITS(SA_SIGINFO),
                                              BITS(SA_ONSTACK),
                                              BITS(SA_RESTART),
                                              BITS(SA_NODEFER),
                                              BITS(SA_RESETHAND)};
static const struct strace_flag ss_flags[] = {
    BITS(SS_ONSTACK), BITS(SS_DISABLE), {1u << 31, 1u << 31, "SS_AUTODISARM"}};
static const struct strace_flag poll_events[] = {
    BITS(POLLIN),     BITS(POLLPRI),    BITS(POLLOUT),    BITS(POLLERR),
    BITS(POLLHUP),    BITS(POLLNVAL),   BITS(POLLRDNORM), BITS(POLLRDBAND),
    BITS(POLLWRNORM), BITS(POLLWRBAND), BITS(POLLMSG),    BITS(POLLRDHUP)};
static const struct strace_flag epoll_events[] = {
    BITS(EPOLLIN),     BITS(EPOLLPRI),       BITS(EPOLLOUT),    BITS(EPOLLERR),     BITS(EPOLLHUP),
    BITS(EPOLLRDNORM), BITS(EPOLLRDBAND),    BITS(EPOLLWRNORM), BITS(EPOLLWRBAND),  BITS(EPOLLMSG),
    BITS(EPOLLRDHUP),  BITS(EPOLLEXCLUSIVE), BITS(EPOLLWAKEUP), BITS(EPOLLONESHOT), BITS(EPOLLET)};
static const struct strace_flag file_types[] = {
    FIELD(S_IFREG, S_IFMT), FIELD(S_IFDIR, S_IFMT), FIELD(S_IFLNK, S_IFMT), FIELD(S_IFCHR, S_IFMT),
    FIELD(S_IFBLK, S_IFMT), FIELD(S_IFIFO, S_IFMT), FIELD(S_IFSOCK, S_IFMT)};
static const struct strace_flag sigev_notify[] = {ONE(SIGEV_SIGNAL), ONE(SIGEV_NONE),
                                                  ONE(SIGEV_THREAD), ONE(SIGEV_THREAD_ID)};
static const struct strace_flag resolve_flags[] = {
    BITS(RESOLVE_NO_XDEV), BITS(RESOLVE_NO_MAGICLINKS), BITS(RESOLVE_NO_SYMLINKS),
    BITS(RESOLVE_BENEATH), BITS(RESOLVE_IN_ROOT),       BITS(RESOLVE_CACHED)};

#define SET(kind, rows) [T_##kind] = {rows, ARRAY_SIZE(rows)}
static const struct strace_flag_set flag_sets[STRACE_ARG_COUNT] = {
    SET(OPEN_FLAGS, open_flags),
    SET(PIPE_FLAGS, pipe_flags),
    SET(AT_FLAGS, at_flags),
    SET(UNLINKAT_FLAGS, unlinkat_flags),
    SET(FACCESSAT_FLAGS, faccessat_flags),
    SET(STATX_FLAGS, statx_flags),
    SET(STATX_MASK, statx_mask),
    SET(ACCESS_MODE, access_modes),
    SET(WHENCE, whence),
    SET(PROT, prot_flags),
    SET(MMAP_FLAGS, mmap_flags),
    SET(MREMAP_FLAGS, mremap_flags),
    SET(MSYNC_FLAGS, msync_flags),
    SET(MADVICE, madvice),
    SET(MLOCKALL_FLAGS, mlockall_flags),
    SET(MLOCK2_FLAGS, mlock2_flags),
    SET(SIG_HOW, sig_how),
    SET(IOCTL, ioctls),
    SET(FCNTL_CMD, fcntl_cmds),
    SET(FLOCK_OP, flock_ops),
    SET(CLONE_FLAGS, clone_flags),
    SET(UNSHARE_FLAGS, clone_flags),
    SET(WAIT_OPTIONS, wait_options),
    SET(WAITID_TYPE, waitid_types),
    SET(FUTEX_OP, futex_ops),
    SET(RLIMIT, rlimits),
    SET(RUSAGE_WHO, rusage_who),
    SET(ITIMER, itimers),
    SET(CLOCK, clocks),
    SET(TIMER_FLAGS, timer_flags),
    SET(TIMERFD_FLAGS, timerfd_flags),
    SET(SOCK_DOMAIN, sock_domains),
    SET(SOCK_TYPE, sock_types),
    SET(SOCK_FLAGS, sock_flags),
    SET(SOCK_PROTO, sock_protos),
    SET(SOCK_LEVEL, sock_levels),
    SET(SOCK_OPT, sock_opts),
    SET(MSG_FLAGS, msg_flags),
    SET(SHUTDOWN_HOW, shutdown_how),
    SET(EPOLL_OP, epoll_ops),
    SET(EPOLL_FLAGS, epoll_flags),
    SET(EVENTFD_FLAGS, eventfd_flags),
    SET(SIGNALFD_FLAGS, signalfd_flags),
    SET(INOTIFY_MASK, inotify_mask),
    SET(INOTIFY_FLAGS, inotify_flags),
    SET(PRCTL_OP, prctl_ops),
    SET(ARCH_PRCTL_OP, arch_prctl_ops),
    SET(PTRACE_OP, ptrace_ops),
    SET(PERSONALITY, personalities),
    SET(PRIO_WHICH, prio_which),
    SET(SCHED_POLICY, sched_policies),
    SET(MOUNT_FLAGS, mount_flags),
    SET(UMOUNT_FLAGS, umount_flags),
    SET(XATTR_FLAGS, xattr_flags),
    SET(FADVICE, fadvice),
    SET(FALLOC_FLAGS, falloc_flags),
    SET(SPLICE_FLAGS, splice_flags),
    SET(RENAME_FLAGS, rename_flags),
    SET(SECCOMP_OP, seccomp_ops),
    SET(GETRANDOM_FLAGS, getrandom_flags),
    SET(MEMFD_FLAGS, memfd_flags),
    SET(MEMBARRIER_CMD, membarrier_cmds),
    SET(RWF_FLAGS, rwf_flags),
    SET(CLOSE_RANGE_FLAGS, close_range_flags),
    SET(IPC_KEY, ipc_keys),
    SET(IPC_FLAGS, ipc_flags),
    SET(IPC_CMD, ipc_cmds),
    SET(SHMAT_FLAGS, shmat_flags),
    SET(SA_FLAGS, sa_flags),
    SET(SS_FLAGS, ss_flags),
    SET(POLL_EVENTS, poll_events),
    SET(EPOLL_EVENTS, epoll_events),
    SET(FILE_TYPE, file_types),
    SET(SIGEV_NOTIFY, sigev_notify),
    SET(RESOLVE_FLAGS, resolve_flags),
};

const struct strace_flag_set *strace_flag_set(enum strace_arg kind)
{
    return &flag_sets[kind];
}

void strace_flags(struct strace_out *o, const struct strace_flag_set *set, uint64_t value)
{
    uint64_t rest = value & UINT32_MAX;
    bool any = false;
    for (size_t i = 0; i < set->nrows; i++) {
        const struct strace_flag *f = &set->rows[i];
        if ((rest & f->mask) != f->value)
            continue;
        strace_printf(o, "%s%s", any ? "|" : "", f->name);
        rest &= ~f->mask;
        any = true;
        if (f->mask == UINT64_MAX)
            return;
    }
    if (rest || !any)
        strace_printf(o, any ? "|0x%lx" : rest ? "0x%lx" : "0", rest);
}

void strace_kind(struct strace_out *o, enum strace_arg kind, uint64_t value)
{
    strace_flags(o, strace_flag_set(kind), value);
}

void strace_signal_name(struct strace_out *o, int sig)
{
    const char *name = sigabbrev_np(sig);
    if (name)
        strace_printf(o, "SIG%s", name);
    else if (sig == 32)
        strace_printf(o, "SIGRTMIN");
    else if (sig > 32 && sig <= SIG_MAX)
        strace_printf(o, "SIGRT_%d", sig - 32);
    else
        strace_printf(o, "%d", sig);
}
