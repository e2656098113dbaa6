import type { Language } from "../models/model.ts";
import type { TaskErrorCode } from "../models/task-errors.ts";

/** The words of every task error in every language the API offers. A missing one does not compile. */
export const texts: Record<Language, Record<TaskErrorCode, string>> = {
  en: {
    content_policy_violation: "The request was refused by the content policy. Nothing was charged.",
    invalid_reference_image:
      "A reference image could not be fetched or is not a usable JPEG, PNG or WebP picture.",
    invalid_mask:
      "The mask must be a picture with an alpha channel, at least one transparent pixel and the size of the first reference image.",
    provider_rejected: "The request was rejected by the image provider.",
    provider_unavailable:
      "The image provider is unavailable at the moment. Please try again later.",
    generation_timeout: "The picture was not finished in time.",
    no_image: "The model answered without a picture. Changing the prompt may help.",
    outcome_unknown:
      "It is not known whether the picture was made. Nothing was charged; please submit again.",
    cancelled: "The task was cancelled.",
    internal_error: "An internal error prevented the picture. Nothing was charged.",
  },
  zh: {
    content_policy_violation: "请求因内容政策被拒绝，未产生费用。",
    invalid_reference_image: "参考图无法获取，或不是可用的 JPEG、PNG 或 WebP 图片。",
    invalid_mask: "蒙版必须带有 Alpha 通道、至少包含一个透明像素，且尺寸与第一张参考图一致。",
    provider_rejected: "图像服务商拒绝了该请求。",
    provider_unavailable: "图像服务商暂时不可用，请稍后重试。",
    generation_timeout: "图片未能在规定时间内完成。",
    no_image: "模型没有返回图片，修改提示词可能会有帮助。",
    outcome_unknown: "无法确认图片是否已生成，未产生费用，请重新提交。",
    cancelled: "任务已取消。",
    internal_error: "内部错误导致图片未生成，未产生费用。",
  },
  ja: {
    content_policy_violation:
      "コンテンツポリシーによりリクエストが拒否されました。料金は発生していません。",
    invalid_reference_image:
      "参照画像を取得できないか、使用できる JPEG・PNG・WebP 画像ではありません。",
    invalid_mask:
      "マスクにはアルファチャンネルと 1 つ以上の透明なピクセルが必要で、最初の参照画像と同じサイズでなければなりません。",
    provider_rejected: "画像プロバイダーがリクエストを拒否しました。",
    provider_unavailable:
      "画像プロバイダーは現在利用できません。しばらくしてからもう一度お試しください。",
    generation_timeout: "画像は制限時間内に完成しませんでした。",
    no_image: "モデルは画像を返しませんでした。プロンプトを変えると改善することがあります。",
    outcome_unknown:
      "画像が作成されたかどうか確認できません。料金は発生していません。もう一度送信してください。",
    cancelled: "タスクはキャンセルされました。",
    internal_error: "内部エラーのため画像を作成できませんでした。料金は発生していません。",
  },
  ko: {
    content_policy_violation:
      "콘텐츠 정책에 따라 요청이 거부되었습니다. 요금은 청구되지 않았습니다.",
    invalid_reference_image:
      "참조 이미지를 가져올 수 없거나 사용할 수 있는 JPEG, PNG, WebP 이미지가 아닙니다.",
    invalid_mask:
      "마스크에는 알파 채널과 하나 이상의 투명 픽셀이 있어야 하며 첫 번째 참조 이미지와 크기가 같아야 합니다.",
    provider_rejected: "이미지 제공업체가 요청을 거부했습니다.",
    provider_unavailable: "이미지 제공업체를 현재 사용할 수 없습니다. 잠시 후 다시 시도해 주세요.",
    generation_timeout: "제한 시간 안에 이미지가 완성되지 않았습니다.",
    no_image: "모델이 이미지를 반환하지 않았습니다. 프롬프트를 바꾸면 도움이 될 수 있습니다.",
    outcome_unknown:
      "이미지가 생성되었는지 확인할 수 없습니다. 요금은 청구되지 않았습니다. 다시 제출해 주세요.",
    cancelled: "작업이 취소되었습니다.",
    internal_error: "내부 오류로 이미지를 만들지 못했습니다. 요금은 청구되지 않았습니다.",
  },
  ru: {
    content_policy_violation: "Запрос отклонён правилами о содержании. Деньги не списаны.",
    invalid_reference_image:
      "Исходное изображение не удалось загрузить, или это не пригодный файл JPEG, PNG или WebP.",
    invalid_mask:
      "Маска должна иметь альфа-канал, хотя бы один прозрачный пиксель и размер первого исходного изображения.",
    provider_rejected: "Поставщик изображений отклонил запрос.",
    provider_unavailable: "Поставщик изображений сейчас недоступен. Повторите попытку позже.",
    generation_timeout: "Изображение не было готово вовремя.",
    no_image: "Модель ответила без изображения. Возможно, поможет другой текст запроса.",
    outcome_unknown:
      "Неизвестно, было ли создано изображение. Деньги не списаны; отправьте запрос ещё раз.",
    cancelled: "Задача отменена.",
    internal_error: "Изображение не создано из-за внутренней ошибки. Деньги не списаны.",
  },
  fr: {
    content_policy_violation:
      "La demande a été refusée par la politique de contenu. Rien n'a été facturé.",
    invalid_reference_image:
      "Une image de référence n'a pas pu être récupérée ou n'est pas une image JPEG, PNG ou WebP utilisable.",
    invalid_mask:
      "Le masque doit avoir un canal alpha, au moins un pixel transparent et la taille de la première image de référence.",
    provider_rejected: "Le fournisseur d'images a rejeté la demande.",
    provider_unavailable:
      "Le fournisseur d'images est indisponible pour le moment. Réessayez plus tard.",
    generation_timeout: "L'image n'a pas été terminée à temps.",
    no_image: "Le modèle a répondu sans image. Modifier le texte peut aider.",
    outcome_unknown:
      "On ne sait pas si l'image a été créée. Rien n'a été facturé ; veuillez soumettre à nouveau.",
    cancelled: "La tâche a été annulée.",
    internal_error: "Une erreur interne a empêché la création de l'image. Rien n'a été facturé.",
  },
  de: {
    content_policy_violation:
      "Die Anfrage wurde von der Inhaltsrichtlinie abgelehnt. Es wurde nichts berechnet.",
    invalid_reference_image:
      "Ein Referenzbild konnte nicht geladen werden oder ist kein brauchbares JPEG-, PNG- oder WebP-Bild.",
    invalid_mask:
      "Die Maske braucht einen Alphakanal, mindestens ein durchsichtiges Pixel und die Größe des ersten Referenzbildes.",
    provider_rejected: "Der Bildanbieter hat die Anfrage zurückgewiesen.",
    provider_unavailable:
      "Der Bildanbieter ist zurzeit nicht erreichbar. Bitte später erneut versuchen.",
    generation_timeout: "Das Bild wurde nicht rechtzeitig fertig.",
    no_image: "Das Modell hat ohne Bild geantwortet. Ein anderer Prompt kann helfen.",
    outcome_unknown:
      "Es ist unbekannt, ob das Bild erzeugt wurde. Es wurde nichts berechnet; bitte erneut absenden.",
    cancelled: "Die Aufgabe wurde abgebrochen.",
    internal_error: "Ein interner Fehler hat das Bild verhindert. Es wurde nichts berechnet.",
  },
  id: {
    content_policy_violation: "Permintaan ditolak oleh kebijakan konten. Tidak ada biaya.",
    invalid_reference_image:
      "Gambar referensi tidak dapat diambil atau bukan gambar JPEG, PNG, atau WebP yang dapat digunakan.",
    invalid_mask:
      "Mask harus memiliki kanal alfa, setidaknya satu piksel transparan, dan ukuran gambar referensi pertama.",
    provider_rejected: "Penyedia gambar menolak permintaan ini.",
    provider_unavailable: "Penyedia gambar sedang tidak tersedia. Silakan coba lagi nanti.",
    generation_timeout: "Gambar tidak selesai tepat waktu.",
    no_image: "Model menjawab tanpa gambar. Mengubah prompt mungkin membantu.",
    outcome_unknown:
      "Tidak diketahui apakah gambar sudah dibuat. Tidak ada biaya; silakan kirim ulang.",
    cancelled: "Tugas dibatalkan.",
    internal_error: "Kesalahan internal mencegah pembuatan gambar. Tidak ada biaya.",
  },
  pt: {
    content_policy_violation: "O pedido foi recusado pela política de conteúdo. Nada foi cobrado.",
    invalid_reference_image:
      "Uma imagem de referência não pôde ser obtida ou não é uma imagem JPEG, PNG ou WebP utilizável.",
    invalid_mask:
      "A máscara precisa de um canal alfa, de pelo menos um pixel transparente e do tamanho da primeira imagem de referência.",
    provider_rejected: "O fornecedor de imagens rejeitou o pedido.",
    provider_unavailable: "O fornecedor de imagens está indisponível. Tente novamente mais tarde.",
    generation_timeout: "A imagem não ficou pronta a tempo.",
    no_image: "O modelo respondeu sem imagem. Alterar o prompt pode ajudar.",
    outcome_unknown: "Não se sabe se a imagem foi criada. Nada foi cobrado; envie novamente.",
    cancelled: "A tarefa foi cancelada.",
    internal_error: "Um erro interno impediu a imagem. Nada foi cobrado.",
  },
  es: {
    content_policy_violation:
      "La solicitud fue rechazada por la política de contenido. No se cobró nada.",
    invalid_reference_image:
      "No se pudo obtener una imagen de referencia o no es una imagen JPEG, PNG o WebP utilizable.",
    invalid_mask:
      "La máscara debe tener un canal alfa, al menos un píxel transparente y el tamaño de la primera imagen de referencia.",
    provider_rejected: "El proveedor de imágenes rechazó la solicitud.",
    provider_unavailable:
      "El proveedor de imágenes no está disponible en este momento. Inténtelo más tarde.",
    generation_timeout: "La imagen no se terminó a tiempo.",
    no_image: "El modelo respondió sin imagen. Cambiar el texto puede ayudar.",
    outcome_unknown: "No se sabe si la imagen se creó. No se cobró nada; vuelva a enviarla.",
    cancelled: "La tarea fue cancelada.",
    internal_error: "Un error interno impidió la imagen. No se cobró nada.",
  },
};
