#include "work/mailbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
    pthread_mutex_t lock; /* the fields below; never held over a system call */
    struct mailbox_item *head;
    struct mailbox_item **tail;
    size_t count;
    size_t out; /* taken, and not done */
    size_t items_max;
    bool sleeping; /* the consumer polls and nobody has written the eventfd for it yet */
    bool closed;
    int fd;
};

struct mailbox *mailbox_create(size_t items_max)
{
    struct mailbox *mailbox;
    int fd;

    CHECK(items_max > 0);
    fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return NULL;
    mailbox = calloc(1, sizeof(*mailbox));
    CHECK(mailbox);
    CHECK(pthread_mutex_init(&mailbox->lock, NULL) == 0);
    mailbox->tail = &mailbox->head;
    mailbox->items_max = items_max;
    mailbox->fd = fd;
    return mailbox;
}

void mailbox_destroy(struct mailbox *mailbox)
{
    if (!mailbox)
        return;
    CHECK(mailbox->count == 0);
    close(mailbox->fd);
    pthread_mutex_destroy(&mailbox->lock);
    free(mailbox);
}

static void wake(struct mailbox *mailbox)
{
    const uint64_t one = 1;

    /* EAGAIN would mean 2^64 unread wake-ups: the consumer is being woken anyway. */
    while (write(mailbox->fd, &one, sizeof(one)) < 0 && errno == EINTR)
        continue;
}

bool mailbox_push(struct mailbox *mailbox, struct mailbox_item *item)
{
    bool accepted;
    bool wake_it = false;

    item->next = NULL;
    pthread_mutex_lock(&mailbox->lock);
    accepted = !mailbox->closed && mailbox->count + mailbox->out < mailbox->items_max;
    if (accepted) {
        *mailbox->tail = item;
        mailbox->tail = &item->next;
        mailbox->count++;
        wake_it = mailbox->sleeping;
        mailbox->sleeping = false;
    }
    pthread_mutex_unlock(&mailbox->lock);
    if (wake_it)
        wake(mailbox);
    return accepted;
}

struct mailbox_item *mailbox_take_all(struct mailbox *mailbox)
{
    struct mailbox_item *items;

    pthread_mutex_lock(&mailbox->lock);
    items = mailbox->head;
    mailbox->head = NULL;
    mailbox->tail = &mailbox->head;
    mailbox->out += mailbox->count;
    mailbox->count = 0;
    pthread_mutex_unlock(&mailbox->lock);
    return items;
}

void mailbox_done(struct mailbox *mailbox, size_t count)
{
    pthread_mutex_lock(&mailbox->lock);
    CHECK(mailbox->out >= count);
    mailbox->out -= count;
    pthread_mutex_unlock(&mailbox->lock);
}

int mailbox_fd(const struct mailbox *mailbox)
{
    return mailbox->fd;
}

bool mailbox_will_sleep(struct mailbox *mailbox)
{
    bool may_sleep;

    pthread_mutex_lock(&mailbox->lock);
    may_sleep = mailbox->count == 0 && !mailbox->closed;
    mailbox->sleeping = may_sleep;
    pthread_mutex_unlock(&mailbox->lock);
    return may_sleep;
}

void mailbox_awake(struct mailbox *mailbox)
{
    uint64_t wakes;

    pthread_mutex_lock(&mailbox->lock);
    mailbox->sleeping = false;
    pthread_mutex_unlock(&mailbox->lock);
    /* A producer that is about to write makes the next sleep end at once, no more. */
    while (read(mailbox->fd, &wakes, sizeof(wakes)) < 0 && errno == EINTR)
        continue;
}

void mailbox_close(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    mailbox->closed = true;
    mailbox->sleeping = false;
    pthread_mutex_unlock(&mailbox->lock);
    wake(mailbox);
}

bool mailbox_is_closed(struct mailbox *mailbox)
{
    bool closed;

    pthread_mutex_lock(&mailbox->lock);
    closed = mailbox->closed;
    pthread_mutex_unlock(&mailbox->lock);
    return closed;
}

size_t mailbox_count(struct mailbox *mailbox)
{
    size_t count;

    pthread_mutex_lock(&mailbox->lock);
    count = mailbox->count;
    pthread_mutex_unlock(&mailbox->lock);
    return count;
}
