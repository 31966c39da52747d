#include "ledger/queue.h"

#include <string.h>

enum { STUCK_FIRST_US = 20000, STUCK_MAX_US = 320000, KEEP_PAUSES = 64, OF_TENANT_MAX = 16 };

static struct commit_item *item_of(struct mailbox_item *link)
{
    return container_of(link, struct commit_item, mailbox);
}

/* --- lines ------------------------------------------------------------------------------------ */

static void line_init(struct queue_line *line)
{
    line->first = NULL;
    line->last = &line->first;
}

static void line_append(struct queue_line *line, struct mailbox_item *items)
{
    *line->last = items;
    while (*line->last)
        line->last = &(*line->last)->next;
}

static void line_push(struct queue_line *line, struct mailbox_item *link)
{
    if (!line->first)
        line->last = &link->next;
    link->next = line->first;
    line->first = link;
}

/* Takes the item that *at leads to. */
static struct commit_item *line_unlink(struct queue_line *line, struct mailbox_item **at)
{
    struct commit_item *item = item_of(*at);

    *at = item->mailbox.next;
    if (!*at)
        line->last = at;
    item->mailbox.next = NULL;
    return item;
}

static struct commit_item *line_take_expired(struct queue_line *line, int64_t now_us)
{
    for (struct mailbox_item **at = &line->first; *at; at = &(*at)->next)
        if (item_of(*at)->give_up_us <= now_us)
            return line_unlink(line, at);
    return NULL;
}

/* All of `from` before what is in `to`. */
static void line_move_to_front(struct queue_line *to, struct queue_line *from)
{
    if (!from->first)
        return;
    *from->last = to->first;
    if (!to->first)
        to->last = from->last;
    to->first = from->first;
    line_init(from);
}

/* --- stuck tenants ---------------------------------------------------------------------------- */

/* NULL: the tenant is not stuck. */
static struct queue_stuck *find_stuck(struct queue *queue, int64_t tenant_id)
{
    for (size_t i = 0; i < queue->stuck_end; i++)
        if (queue->stuck_tenants[i] == tenant_id)
            return &queue->stuck[i];
    return NULL;
}

static struct queue_line *line_of(struct queue *queue, int64_t tenant_id)
{
    struct queue_stuck *stuck = find_stuck(queue, tenant_id);

    return stuck ? &stuck->line : &queue->line;
}

static void clear_place(struct queue *queue, size_t place)
{
    line_move_to_front(&queue->line, &queue->stuck[place].line);
    queue->stuck_tenants[place] = 0;
    while (queue->stuck_end > 0 && queue->stuck_tenants[queue->stuck_end - 1] == 0)
        queue->stuck_end--;
}

static size_t make_place(struct queue *queue)
{
    size_t first = 0;

    for (size_t i = 0; i < QUEUE_STUCK_MAX; i++) {
        if (queue->stuck_tenants[i] == 0)
            return i;
        if (queue->stuck[i].until_us < queue->stuck[first].until_us)
            first = i;
    }
    clear_place(queue, first);
    return first;
}

/* What waits already of a tenant that is stuck from now on. */
static void move_to_line(struct queue *queue, int64_t tenant_id, struct queue_line *line)
{
    struct mailbox_item **at = &queue->line.first;

    while (*at)
        if (item_of(*at)->settle.tenant_id == tenant_id)
            line_append(line, &line_unlink(&queue->line, at)->mailbox);
        else
            at = &(*at)->next;
}

void queue_leave_out(struct queue *queue, int64_t tenant_id, int64_t now_us)
{
    struct queue_stuck *stuck = find_stuck(queue, tenant_id);

    CHECK(tenant_id != 0);
    if (!stuck) {
        size_t place = make_place(queue);

        stuck = &queue->stuck[place];
        *stuck = (struct queue_stuck){.pause_us = STUCK_FIRST_US / 2};
        line_init(&stuck->line);
        queue->stuck_tenants[place] = tenant_id;
        if (place >= queue->stuck_end)
            queue->stuck_end = place + 1;
        move_to_line(queue, tenant_id, &stuck->line);
    }
    stuck->pause_us = stuck->pause_us < STUCK_MAX_US / 2 ? 2 * stuck->pause_us : STUCK_MAX_US;
    stuck->until_us = now_us + stuck->pause_us;
    stuck->keep_us = now_us + KEEP_PAUSES * stuck->pause_us;
}

void queue_let_in(struct queue *queue, int64_t tenant_id)
{
    struct queue_stuck *stuck = find_stuck(queue, tenant_id);

    if (stuck)
        clear_place(queue, (size_t)(stuck - queue->stuck));
}

void queue_went_through(struct queue *queue, int64_t tenant_id)
{
    struct queue_stuck *stuck = find_stuck(queue, tenant_id);

    if (stuck)
        stuck->until_us = 0;
}

void queue_tries(struct queue *queue, int64_t tenant_id, int64_t now_us)
{
    struct queue_stuck *stuck = find_stuck(queue, tenant_id);

    if (stuck)
        stuck->tried_us = now_us;
}

static struct queue_stuck *next_to_try(struct queue *queue, int64_t now_us)
{
    struct queue_stuck *next = NULL;

    for (size_t i = 0; i < queue->stuck_end; i++) {
        struct queue_stuck *stuck = &queue->stuck[i];

        if (queue->stuck_tenants[i] != 0 && stuck->line.first && stuck->until_us <= now_us &&
            (!next || stuck->tried_us < next->tried_us))
            next = stuck;
    }
    return next;
}

static size_t take_of(struct queue_stuck *stuck, size_t max, struct commit_item **items)
{
    size_t count = 0;

    while (stuck->line.first && count < max)
        items[count++] = line_unlink(&stuck->line, &stuck->line.first);
    return count;
}

size_t queue_take_stuck(struct queue *queue, size_t max, int64_t now_us, struct commit_item **items)
{
    struct queue_stuck *first;
    size_t count = 0;

    for (size_t i = queue->stuck_end; i-- > 0;)
        if (i < queue->stuck_end && queue->stuck_tenants[i] != 0 &&
            queue->stuck[i].keep_us <= now_us)
            clear_place(queue, i);
    first = next_to_try(queue, now_us);
    if (!first)
        return 0;
    count = take_of(first, max / 2 + 1, items);
    for (size_t i = 0; i < queue->stuck_end; i++) {
        size_t room = max - count < OF_TENANT_MAX ? max - count : OF_TENANT_MAX;

        if (queue->stuck_tenants[i] != 0 && queue->stuck[i].until_us <= now_us)
            count += take_of(&queue->stuck[i], room, items + count);
    }
    count += take_of(first, max - count, items + count);
    return count;
}

/* --- the queue -------------------------------------------------------------------------------- */

void queue_init(struct queue *queue)
{
    memset(queue, 0, sizeof(*queue));
    line_init(&queue->line);
}

bool queue_is_empty(const struct queue *queue)
{
    for (size_t i = 0; i < queue->stuck_end; i++)
        if (queue->stuck_tenants[i] != 0 && queue->stuck[i].line.first)
            return false;
    return !queue->line.first;
}

void queue_append(struct queue *queue, struct mailbox_item *items)
{
    if (queue->stuck_end == 0) {
        line_append(&queue->line, items);
        return;
    }
    while (items) {
        struct mailbox_item *link = items;

        items = link->next;
        link->next = NULL;
        line_append(line_of(queue, item_of(link)->settle.tenant_id), link);
    }
}

void queue_put_back(struct queue *queue, struct commit_item *const *items, size_t count)
{
    while (count-- > 0)
        line_push(line_of(queue, items[count]->settle.tenant_id), &items[count]->mailbox);
}

struct commit_item *queue_take_expired(struct queue *queue, int64_t now_us)
{
    struct commit_item *item = line_take_expired(&queue->line, now_us);

    for (size_t i = 0; !item && i < queue->stuck_end; i++)
        if (queue->stuck_tenants[i] != 0)
            item = line_take_expired(&queue->stuck[i].line, now_us);
    return item;
}

size_t queue_take(struct queue *queue, size_t max, bool (*busy)(void *user, int64_t tenant_id),
                  void *user, struct commit_item **items)
{
    struct mailbox_item **at = &queue->line.first;
    size_t count = 0;

    if (queue->suspects > 0 && queue->suspects_max < max)
        max = queue->suspects_max;
    while (*at && count < max)
        if (busy(user, item_of(*at)->settle.tenant_id))
            at = &(*at)->next;
        else
            items[count++] = line_unlink(&queue->line, at);
    queue->suspects -= count < queue->suspects ? count : queue->suspects;
    return count;
}

void queue_suspect(struct queue *queue, size_t count, size_t at_a_time)
{
    CHECK(at_a_time > 0);
    queue->suspects += count;
    queue->suspects_max = at_a_time;
}

void queue_trust(struct queue *queue)
{
    if (queue->suspects > 0 && queue->suspects_max < SIZE_MAX / 2)
        queue->suspects_max *= 2;
}
