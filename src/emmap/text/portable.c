/* The kernels for machines whose vectors we do not know. */
#include "portable.h"

#include "count.h"
#include "find.h"
#include "newlines.h"
#include "translate.h"

const struct emmap_kernels emmap_portable = {"portable", count, find, newlines, translate};
