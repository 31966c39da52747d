/* Answers that are given together: how many packets they take, and that none is forgotten. */
#include "stub/cork.h"

#include "fixture.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    PAIRS = CORK_CONNECTIONS_MAX + 8,
    TOGETHER = 24, /* answers in a group */
    SPLIT_MAX = 8, /* packets of a group: 1, and some for a machine that stands still for 200 ms */
    DESCRIPTORS_MAX = 256,
    GROUPS_MAX = 100, /* until one teaches */
};

/* A connection through TCP; what goes into `in` comes out of `out`, or the test fails after 5 s. */
struct pair {
    int in, out;
};

static struct pair pair_open(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct timeval patience = {.tv_sec = 5};
    socklen_t bytes = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct pair pair = {.in = socket(AF_INET, SOCK_STREAM, 0)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    cr_assert_eq(listen(listener, 1), 0);
    cr_assert_eq(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
    cr_assert_eq(connect(pair.in, (struct sockaddr *)&address, sizeof(address)), 0);
    pair.out = accept(listener, NULL, NULL);
    cr_assert_geq(pair.out, 0);
    cr_assert_eq(setsockopt(pair.out, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    close(listener);
    return pair;
}

static void pair_close(struct pair *pair)
{
    close(pair->in);
    close(pair->out);
}

static void put(const struct pair *pair, char byte)
{
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

    cr_assert_eq(sendmsg(pair->in, &message, MSG_NOSIGNAL), 1);
}

static void take(const struct pair *pair, const char *bytes)
{
    char got[16];
    size_t count = strlen(bytes);

    cr_assert_eq(recv(pair->out, got, count, MSG_WAITALL), (ssize_t)count);
    cr_assert_arr_eq(got, bytes, count);
}

/* Packets with data that came in. */
static uint32_t packets(int fd)
{
    struct tcp_info info = {.tcpi_state = 0};
    socklen_t bytes = sizeof(info);

    cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &bytes), 0);
    return info.tcpi_data_segs_in;
}

/* The next group is held. */
static void teach(const struct pair *pair)
{
    stub_cork();
    put(pair, '1');
    put(pair, '2');
    stub_uncork();
    take(pair, "12");
}

Test(cork, what_is_written_together_arrives_together)
{
    struct pair pair = pair_open();
    uint32_t before;

    teach(&pair);
    before = packets(pair.out);
    cr_assert_eq(before, 2);
    stub_cork(); /* nothing to learn from */
    stub_uncork();
    stub_cork();
    for (char byte = 'a'; byte <= 'l'; byte++)
        put(&pair, byte);
    stub_uncork();
    take(&pair, "abcdefghijkl");
    cr_assert_leq(packets(pair.out) - before, SPLIT_MAX);
    put(&pair, 'x'); /* and outside of a group as ever */
    take(&pair, "x");
    pair_close(&pair);
}

Test(cork, after_a_group_of_single_answers_nothing_is_held)
{
    struct pair pairs[4];

    for (int i = 0; i < 4; i++)
        pairs[i] = pair_open();
    teach(&pairs[0]);
    stub_cork();
    for (int i = 0; i < 4; i++)
        put(&pairs[i], 'a');
    stub_uncork();
    stub_cork();
    for (int i = 0; i < 4; i++)
        put(&pairs[i], 'b');
    for (int i = 0; i < 4; i++)
        take(&pairs[i], "ab");
    stub_uncork();
    stub_cork(); /* neither after a group of none, or of one: whoever asks alone waits for nobody */
    stub_uncork();
    stub_cork();
    put(&pairs[0], 'c');
    take(&pairs[0], "c");
    stub_uncork();
    stub_cork();
    put(&pairs[0], 'd');
    take(&pairs[0], "d");
    stub_uncork();
    for (int i = 0; i < 4; i++)
        pair_close(&pairs[i]);
}

Test(cork, more_connections_than_are_remembered_get_theirs_too)
{
    struct pair pairs[PAIRS];

    for (int i = 0; i < PAIRS; i++)
        pairs[i] = pair_open();
    for (int group = 0; group < 3; group++) {
        teach(&pairs[0]);
        stub_cork();
        for (int i = 0; i < 2 * PAIRS; i++)
            put(&pairs[i / 2], (char)('a' + i % 2));
        stub_uncork();
        for (int i = 0; i < PAIRS; i++)
            take(&pairs[i], "ab");
    }
    for (int i = 0; i < PAIRS; i++)
        pair_close(&pairs[i]);
}

static void *put_elsewhere(void *user)
{
    const struct pair *pair = user;

    put(pair, 'b');
    take(pair, "ab");
    return NULL;
}

Test(cork, another_thread_does_not_wait)
{
    struct pair pair = pair_open();
    pthread_t thread;

    teach(&pair);
    stub_cork();
    put(&pair, 'a');
    cr_assert_eq(pthread_create(&thread, NULL, put_elsewhere, &pair), 0);
    pthread_join(thread, NULL);
    stub_uncork();
    pair_close(&pair);
}

Test(cork, a_unix_socket_and_one_that_is_gone_are_no_matter)
{
    struct pair pair = pair_open();
    struct pair local;
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    local = (struct pair){fds[0], fds[1]};
    teach(&pair);
    stub_cork();
    put(&local, 'a');
    put(&local, 'b');
    put(&pair, 'a');
    put(&pair, 'b');
    close(pair.in);
    stub_uncork();
    take(&pair, "ab");
    take(&local, "ab");
    close(pair.out);
    pair_close(&local);
}

Test(cork, a_second_one_is_a_bug, .signal = SIGABRT)
{
    stub_cork();
    stub_cork();
}

/* --- through gRPC ------------------------------------------------------------------------------- */

struct group {
    int count;
    struct stub_call *calls[TOGETHER];
    atomic_int answered;
};

static void echo(void *user, struct stub_call *call, const Test__Echo__V1__EchoRequest *request)
{
    Test__Echo__V1__EchoResponse response = TEST__ECHO__V1__ECHO_RESPONSE__INIT;
    struct group *group = user;

    (void)request;
    group->calls[group->count++] = call;
    if (group->count < TOGETHER)
        return;
    group->count = 0;
    stub_cork();
    for (int i = 0; i < TOGETHER; i++)
        test_echo_v1_echo_service_echo_reply(group->calls[i], &response);
    stub_uncork();
}

static void answered(void *user, const struct stub_status *status,
                     const Test__Echo__V1__EchoResponse *reply)
{
    struct group *group = user;

    (void)reply;
    cr_assert_eq(status->code, STUB_OK);
    atomic_fetch_add(&group->answered, 1);
}

static bool all_answered(void *user)
{
    struct group *group = user;

    return atomic_load(&group->answered) == TOGETHER;
}

static void call_together(struct rig *rig, struct group *group)
{
    Test__Echo__V1__EchoRequest request = TEST__ECHO__V1__ECHO_REQUEST__INIT;

    atomic_store(&group->answered, 0);
    for (int i = 0; i < TOGETHER; i++)
        test_echo_v1_echo_service_echo_async(rig->channel, NULL, &request, answered, group);
    cr_assert(eventually(all_answered, group));
}

/* The channel's end of its one connection to the rig. */
static int connection_of(const struct rig *rig)
{
    int port = atoi(strrchr(rig->target, ':') + 1);

    for (int fd = 0; fd < DESCRIPTORS_MAX; fd++) {
        struct sockaddr_in6 peer = {.sin6_port = 0};
        socklen_t bytes = sizeof(peer);

        /* The port of sockaddr_in is in the same place. */
        if (getpeername(fd, (struct sockaddr *)&peer, &bytes) == 0 &&
            ntohs(peer.sin6_port) == port)
            return fd;
    }
    cr_assert_fail("there is no connection");
    return -1;
}

/* The packets that the answers of one more group took; *count is of all until then. */
static uint32_t group_packets(struct rig *rig, struct group *group, uint32_t *count)
{
    uint32_t before = *count;

    call_together(rig, group);
    *count = packets(connection_of(rig));
    return *count - before;
}

/*
 * Another thread that serves the connection may write a group's answers for the worker, all in one
 * packet: it does so while the connection is new. The worker learns nothing then, so more groups come
 * until one has shown it that holding pays; from then on it holds.
 */
Test(cork, the_answers_of_a_group_take_few_packets)
{
    static const struct test_echo_v1_echo_service_handlers handlers = {.echo = echo};
    struct group group = {.count = 0};
    uint32_t count = 0;
    struct rig rig;
    int groups = 0;

    rig_start(&rig, &handlers, &group, NULL);
    while (group_packets(&rig, &group, &count) < TOGETHER / 2)
        cr_assert_lt(++groups, GROUPS_MAX, "no group came in packets of its own");
    for (int i = 0; i < 3; i++) {
        uint32_t taken = group_packets(&rig, &group, &count);

        cr_assert_leq(taken, SPLIT_MAX, "%u packets", taken); /* without: one for each, or some less */
    }
    rig_stop(&rig);
}
