/*
 * A user of libseccomp. filtered rules: installs a filter and shows what it does; filtered notify:
 * a parent answers its child's calls; filtered export: writes a filter for bwrap to its output.
 */
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int result, const char *what)
{
    if (result < 0) {
        printf("%s: %s\n", what, strerror(-result));
        exit(1);
    }
}
#define CHECK(call) check(call, #call)

static void show(const char *what, int result)
{
    printf("%s: %d %s\n", what, result >= 0, result < 0 ? strerror(errno) : "");
}

static scmp_filter_ctx rules(void)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(seccomp_rule_add(c, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(uname), 0));
    CHECK(seccomp_rule_add(c, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                           SCMP_A0(SCMP_CMP_EQ, AF_NETLINK)));
    CHECK(seccomp_rule_add(c, SCMP_ACT_KILL_PROCESS, SCMP_SYS(getpgid), 0));
    CHECK(seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2));
    return c;
}

static int show_rules(void)
{
    struct utsname names;
    scmp_filter_ctx c = rules();
    printf("api %u\n", seccomp_api_get());
    CHECK(seccomp_attr_set(c, SCMP_FLTATR_CTL_TSYNC, 1));
    CHECK(seccomp_load(c));
    seccomp_release(c);
    show("uname", uname(&names));
    show("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
    show("unix", socket(AF_UNIX, SOCK_STREAM, 0));
    fflush(stdout);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    pid_t pid = fork();
    if (pid == 0) {
        (void)getpgid(0);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    printf("killed by %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    return 0;
}

static int supervise(void)
{
    scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(seccomp_rule_add(c, SCMP_ACT_NOTIFY, SCMP_SYS(getpgid), 0));
    CHECK(seccomp_load(c));
    int fd = seccomp_notify_fd(c);
    check(fd, "seccomp_notify_fd");
    pid_t pid = fork();
    if (pid == 0)
        _exit(getpgid(0) == 99 ? 0 : 1);
    struct seccomp_notif *request;
    struct seccomp_notif_resp *answer;
    CHECK(seccomp_notify_alloc(&request, &answer));
    CHECK(seccomp_notify_receive(fd, request));
    CHECK(seccomp_notify_id_valid(fd, request->id));
    printf("asked for call %d by the child: %d\n", request->data.nr, request->pid == (unsigned)pid);
    answer->id = request->id;
    answer->val = 99;
    CHECK(seccomp_notify_respond(fd, answer));
    int status;
    waitpid(pid, &status, 0);
    printf("status %d\n", status);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "rules") == 0)
        return show_rules();
    if (strcmp(what, "notify") == 0)
        return supervise();
    CHECK(seccomp_export_bpf(rules(), STDOUT_FILENO));
    return 0;
}
