/* redis_slots.c - the slot of a key: CRC16 (XMODEM: polynomial 0x1021, from 0) modulo 16384, of the
 * part between the first { and the next } where that is not empty. */
#include "redis_private.h"

static uint16_t crc16(struct bytes data) {
    uint16_t crc = 0;
    for (size_t i = 0; i < data.len; i++) {
        crc ^= (uint16_t)((unsigned char)data.at[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

uint16_t redis_slot(struct bytes key) {
    const char *open = key.len > 0 ? memchr(key.at, '{', key.len) : NULL;
    if (open != NULL) {
        struct bytes tag = bytes_skip(key, (size_t)(open - key.at) + 1);
        const char *close = tag.len > 0 ? memchr(tag.at, '}', tag.len) : NULL;
        if (close != NULL && close > tag.at)
            key = bytes_of(tag.at, (size_t)(close - tag.at));
    }
    return crc16(key) % REDIS_SLOTS;
}
