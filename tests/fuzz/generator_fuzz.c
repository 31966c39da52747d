/*
 * What protoc hands to the plugin: any bytes. The answer is readable, is either an error or files,
 * and the same for the same bytes.
 */
#include "plugin/plugin.h"

#include <google/protobuf/compiler/plugin.pb-c.h>
#include <stdlib.h>
#include <string.h>

typedef Google__Protobuf__Compiler__CodeGeneratorResponse response_message;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint8_t *first, *second;
    size_t first_bytes, second_bytes;
    response_message *response;

    if (!plugin_run(slice_of(data, bytes), &first, &first_bytes))
        return 0;
    response = google__protobuf__compiler__code_generator_response__unpack(NULL, first_bytes, first);
    CHECK(response);
    CHECK(!response->error || response->n_file == 0);
    google__protobuf__compiler__code_generator_response__free_unpacked(response, NULL);
    CHECK(plugin_run(slice_of(data, bytes), &second, &second_bytes));
    CHECK(first_bytes == second_bytes && memcmp(first, second, first_bytes) == 0);
    free(first);
    free(second);
    return 0;
}
