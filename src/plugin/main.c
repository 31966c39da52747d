/*
 * protoc-gen-cstub: protoc --plugin=protoc-gen-cstub --cstub_out=DIR x.proto
 */
#include "plugin/plugin.h"
#include "plugin/text.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    struct text input = {0};
    char buffer[65536];
    uint8_t *response;
    size_t n;

    while ((n = fread(buffer, 1, sizeof(buffer), stdin)) > 0)
        text_add(&input, buffer, n);
    if (!plugin_run(slice_of(input.data, input.len), &response, &n)) {
        fprintf(stderr, "protoc-gen-cstub: stdin holds no CodeGeneratorRequest; protoc runs this\n");
        text_done(&input);
        return 1;
    }
    if (fwrite(response, 1, n, stdout) != n || fflush(stdout) != 0) {
        perror("protoc-gen-cstub: stdout");
        return 1;
    }
    free(response);
    text_done(&input);
    return 0;
}
