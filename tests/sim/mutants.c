#include "tests/sim/mutants.h"

#include "base/check.h"
#include "counter/kind.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *themes, *find, *replace;
} mutants[MUTANTS] = {
    [MUTANT_NONE] = {"none", "", NULL, NULL},
    [MUTANT_GUARD_WITHOUT_REPLID] = {"guard_without_replid", "LOSS,TIGHT",
                                     "not info:find('master_replid:' .. ARGV[1], 1, true)", "false"},
    [MUTANT_SPENT_IS_ADDED] = {"spent_is_added", "TIGHT", "q.S < S and S or q.S", "q.S + S"},
    [MUTANT_SHORT_IS_ADMITTED] = {"short_is_admitted", "TIGHT", "quota.room < more", "false"},
    [MUTANT_VANISHED_IS_NEW] = {"vanished_is_new", "KEYS,TIGHT",
                                "if newest == t.L and not (q and q.L == t.L) then",
                                "if false then"},
    [MUTANT_RELEASE_WITHOUT_FENCE] = {"release_without_fence", "RACE", NULL, NULL},
    [MUTANT_REMOVAL_IGNORES_LEASE] = {"removal_ignores_lease", "LOSS,TIGHT",
                                      "q.L == first + lease", "true"},
    [MUTANT_OK_BEFORE_COMMIT] = {"ok_before_commit", "POSTGRES_NET", NULL, NULL},
    [MUTANT_ROOT_WITHOUT_CAP] = {"root_without_cap", "TIGHT", NULL, NULL},
    [MUTANT_LOCK_WAITS_FOR_EVER] = {"lock_waits_for_ever", "STUCK", NULL, NULL},
    [MUTANT_EXTEND_STAYS] = {"extend_stays", "RACE", "if wanted <= deadline then", "if true then"},
    [MUTANT_RELEASED_MEANS_NEWER] = {"released_means_newer", "RACE,LATE", NULL, NULL},
    [MUTANT_LEASE_ENDS_EARLY] = {"lease_ends_early", "QUIET,LOSS,TIGHT",
                                 "known[ARGV[at + 1] .. ' ' .. q.L] or 0", "0"},
    [MUTANT_DEADLINE_COMES_BACK] = {"deadline_comes_back", "QUIET,LOSS,TIGHT,REDIS_NET",
                                    "q.B <= B and D", "D"},
};

static enum mutant current = MUTANT_NONE;

void mutant_set(enum mutant mutant)
{
    current = mutant;
}

bool mutant_is(enum mutant mutant)
{
    return current == mutant;
}

bool mutant_find(const char *name, enum mutant *ret)
{
    for (int i = 0; i < MUTANTS; i++)
        if (strcmp(mutants[i].name, name) == 0) {
            *ret = (enum mutant)i;
            return true;
        }
    return false;
}

const char *mutant_name(enum mutant mutant)
{
    return mutants[mutant].name;
}

const char *mutant_themes(enum mutant mutant)
{
    return mutants[mutant].themes;
}

bool mutant_applies(enum mutant mutant)
{
    const char *find = mutants[mutant].find;
    bool applies = !find;

    for (int kind = 0; kind < COUNTER_KINDS && !applies; kind++)
        applies = strstr(kind_of((enum counter_kind)kind)->script, find) != NULL;
    return applies;
}

char *mutant_script(const char *script, unsigned long len)
{
    const char *find = mutants[current].find, *replace = mutants[current].replace;
    const char *at = find ? memmem(script, len, find, strlen(find)) : NULL;
    size_t before, after;
    char *text;

    if (!at)
        return NULL;
    before = (size_t)(at - script);
    after = len - before - strlen(find);
    text = malloc(before + strlen(replace) + after + 1);
    CHECK(text);
    memcpy(text, script, before);
    memcpy(text + before, replace, strlen(replace));
    memcpy(text + before + strlen(replace), at + strlen(find), after);
    text[before + strlen(replace) + after] = '\0';
    return text;
}
