#include "base/status.h"

#include "base/check.h"

static const struct {
    const char *name;
    const char *text;
    bool may_have_happened;
} map[STATUS_COUNT] = {
#define X(name, effect, text) [STATUS_##name] = {#name, text, effect},
    STATUS_MAP(X)
#undef X
};

const char *status_name(enum status status)
{
    CHECK(status < STATUS_COUNT);
    return map[status].name;
}

const char *status_text(enum status status)
{
    CHECK(status < STATUS_COUNT);
    return map[status].text;
}

bool status_may_have_happened(enum status status)
{
    CHECK(status < STATUS_COUNT);
    return map[status].may_have_happened;
}
