/* What the debuggers look at: functions that call each other, threads, a child, a signal. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int watched;
static int counter;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int factorial(int n)
{
    return n <= 1 ? 1 : n * factorial(n - 1);
}

int twice(int x)
{
    watched = x;
    return 2 * x;
}

static void *work(void *arg)
{
    for (int i = 0; i < 3; i++) {
        pthread_mutex_lock(&lock);
        counter++;
        pthread_mutex_unlock(&lock);
        getppid();
    }
    return arg;
}

static int threads(void)
{
    pthread_t thread[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&thread[i], NULL, work, NULL);
    for (int i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    printf("counted %d\n", counter);
    return 0;
}

static int child(void)
{
    pid_t pid = fork();
    if (pid == 0)
        execl("/bin/true", "true", (char *)NULL);
    int status;
    wait(&status);
    printf("child %d\n", status);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "threads") == 0)
        return threads();
    if (strcmp(what, "child") == 0)
        return child();
    if (strcmp(what, "loop") == 0)
        for (;;)
            usleep(1000);
    int sum = 0;
    for (int i = 0; i < 4; i++)
        sum += twice(i);
    printf("%d %d\n", sum, factorial(5));
    fflush(stdout);
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    return 0;
}
