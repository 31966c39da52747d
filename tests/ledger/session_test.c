/* A database that could lose what it has confirmed is refused. Settings are the whole server's. */
#include "tests/ledger/support.h"

#include "tests/support/fixture.h"

#include <criterion/criterion.h>

static bool refused(void *user)
{
    const char *name = user;
    struct database *db = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    enum status status = database_ping(db);
    bool named = strstr(database_error(db), name) != NULL;

    database_destroy(db);
    return status == STATUS_REFUSED && named;
}

static bool accepted(void *user)
{
    struct database *db = support_connect(fixture_env("HOLDFAST_TEST_POSTGRES"));
    enum status status = database_ping(db);

    (void)user;
    database_destroy(db);
    return status == STATUS_OK;
}

static void set(const char *name, const char *value)
{
    fixture_sql_do("ALTER SYSTEM SET %s = %s", name, value);
    fixture_sql_do("SELECT pg_reload_conf()");
}

Test(session, refuses_unsafe_settings_and_names_them)
{
    char fsync[] = "fsync=off";
    char full_page_writes[] = "full_page_writes=off";

    cr_assert(accepted(NULL));
    set("fsync", "off");
    cr_assert(fixture_until(10000, refused, fsync));
    set("fsync", "on");
    set("full_page_writes", "off");
    cr_assert(fixture_until(10000, refused, full_page_writes));
    set("full_page_writes", "on");
    cr_assert(fixture_until(10000, accepted, NULL));
    /* The default of the role does not matter: the session sets its own. */
    set("synchronous_commit", "off");
    cr_assert(fixture_until(10000, accepted, NULL));
}
